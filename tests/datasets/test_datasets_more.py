"""Tiny ImageNet, CUB-200, Caltech-256, WebVision50 and Clothing100K: folders laid out as they are given out, with coloured digits as the pictures."""
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import layouts
from noisykit.data.source import load_dataset
from noisykit.data.images import FolderImages
from noisykit.pictures import run_pictures
from noisykit.resolve import resolve
from noisykit.run import run_method

SMALL = dict(image_size=32, workers=0)

def pixels(path, size=None):
    p = Image.open(path).convert("RGB")
    return np.asarray(p.resize(size, Image.Resampling.BILINEAR) if size else p, int)


def test_tinyimagenet(tmp_path):
    root = layouts.tinyimagenet(tmp_path)/"tiny-imagenet-200"
    s, sub = load_dataset("tinyimagenet", tmp_path), load_dataset("tinyimagenet", root)
    wnids = sorted((root/"wnids.txt").read_text().split())
    assert (root/"wnids.txt").read_text().split() != wnids and s.classes == [f"name {c}" for c in range(4)]
    assert s.train.shape == s.test.shape == (3, 64, 64) and s.labels.tolist() == np.repeat(range(4), 6).tolist() and (s.train.pad, s.train.flip, s.test.pad, s.test.flip) == (8, True, 0, False)
    assert s.train.mean == s.test.mean == (.485, .456, .406) and (sub.train.pixels == s.train.pixels).all() and (sub.test.pixels == s.test.pixels).all()
    for k, path in enumerate(sorted((root/"train").glob("*/images/*.JPEG"))): assert (s.train.pixels[k].permute(1, 2, 0).numpy() == pixels(path)).all() and wnids[s.labels[k]] == path.parts[-3]
    grey = (s.train.pixels[:, 0] == s.train.pixels[:, 1]).flatten(1).all(1)
    assert grey.sum() == 4 and Image.open(root/"train"/wnids[0]/"images"/f"{wnids[0]}_5.JPEG").mode == "L" # real sets have some
    for k, line in enumerate((root/"val/val_annotations.txt").read_text().splitlines()):
        file, w, *_ = line.split("\t")
        assert w == wnids[s.test_labels[k]] and (s.test.pixels[k].permute(1, 2, 0).numpy() == pixels(root/"val/images"/file)).all()
    smaller = load_dataset("tinyimagenet", root, image_size=32, train_size=8)
    assert smaller.train.shape == (3, 32, 32) and smaller.train.pad == 4 and np.bincount(smaller.labels).tolist() == [2]*4


@pytest.mark.parametrize("into", ["val", "nested", "images"])
def test_tinyimagenet_moved(tmp_path, into):
    layouts.tinyimagenet(tmp_path)
    before = load_dataset("tinyimagenet", tmp_path)
    layouts.move_val(tmp_path, into)
    after = load_dataset("tinyimagenet", tmp_path)
    both = [sorted((int(c), x.numpy().tobytes()) for c, x in zip(s.test_labels, s.test.pixels)) for s in (before, after)]
    assert both[0] == both[1] and after.test_labels.tolist() == sorted(before.test_labels)


@pytest.mark.parametrize("file, text, what", [
    ("wnids.txt", None, "wnids.txt does not exist"),
    ("wnids.txt", "n01443537\n", "wnids.txt must hold two synsets or more, one a line; it holds 1"),
    ("wnids.txt", "n01443537\nn09999999\n", "1 of the 2 synsets in .* are not in words.txt; the first is 'n09999999'"),
    ("words.txt", None, "words.txt does not exist"),
    ("words.txt", "n01443537 name without a tab\n", "each line of .*words.txt must be a synset and its names, with a tab between; 1 of 1"),
    ("val/val_annotations.txt", None, "val_annotations.txt does not exist"),
    ("val/val_annotations.txt", "", "val_annotations.txt is empty; each line must be an image, its synset and its box"),
    ("val/val_annotations.txt", "val_0.JPEG\tn09999999\t0\t1\t2\t3\n", "1 of the 1 images in .* have a synset that is not in wnids.txt; the first is val_0.JPEG, 'n09999999'"),
    ("val/val_annotations.txt", "val_0.JPEG\tn01443537\t0\nval_0.JPEG\tn01443634\t0\n", "must be an image, its synset and its box, with tabs between; 'val_0.JPEG' is there twice"),
    ("val/images/val_3.JPEG", None, r"val_3.JPEG cannot be read \(FileNotFoundError"),
    ("train/n01443537/images/n01443537_2.JPEG", "no picture", "n01443537_2.JPEG cannot be read"),
    ("train/n01443537/images", None, "n01443537 holds no images"),
])
def test_tinyimagenet_refuses(tmp_path, file, text, what):
    path = layouts.tinyimagenet(tmp_path)/"tiny-imagenet-200"/file
    if text is not None: path.write_text(text)
    elif path.is_dir(): shutil.rmtree(path)
    else: path.unlink()
    with pytest.raises((ValueError, OSError), match=what) as e: load_dataset("tinyimagenet", tmp_path)
    assert "\n" not in str(e.value)


def test_cub200(tmp_path):
    root = layouts.cub200(tmp_path)/"CUB_200_2011"
    s = load_dataset("cub200", tmp_path, **SMALL)
    files = [line.split()[1] for line in (root/"images.txt").read_text().splitlines()]
    assert s.classes == [f"Black_Bird_{c}" for c in range(5)] and s.files == [f"CUB_200_2011/images/{f}" for f in files[1::2]] and load_dataset("cub200", root, **SMALL).files == [f"images/{f}" for f in files[1::2]]
    assert s.labels.tolist() == s.test_labels.tolist() == np.repeat(range(5), 3).tolist() and [int(f.split("/")[2][:3]) - 1 for f in s.files] == s.labels.tolist()
    path = s.test.paths[4] # height 48: the shorter side
    w, h = Image.open(path).size
    resized = Image.open(path).resize((round(w*256/h), 256), Image.Resampling.BILINEAR)
    left = (resized.width - 224)/2
    seen = np.asarray(resized.crop((left, 16, left + 224, 240)).resize((32, 32), Image.Resampling.BILINEAR), int)
    assert abs(s.test.take([4]).pixels[0].permute(1, 2, 0).numpy() - seen).mean() < 4
    assert s.train.scale == (.08, 1.) and isinstance(s.train, FolderImages)
    a, b = (next(s.train.batches([torch.arange(4)], key=(0, e))) for e in (1, 2))
    assert a.shape == (4, 3, 32, 32) and (a != b).any() and (next(s.test.batches([torch.arange(4)], key=(0, 1))) == next(s.test.batches([torch.arange(4)], key=(0, 1)))).all()


@pytest.mark.parametrize("file, text, what", [
    ("images.txt", None, "images.txt does not exist"),
    ("images.txt", "1\n", "each line of .*images.txt must be a number and the path of an image; 1 of 1 are not, the first is '1'"),
    ("classes.txt", "", "classes.txt is empty; each line must be a number and the name of a class"),
    ("image_class_labels.txt", "1 1\n", "must give each image of images.txt a class of classes.txt; 29 of 30 have none, the first is image 2"),
    ("image_class_labels.txt", "".join(f"{i} 0\n" for i in range(1, 31)), "30 of 30 have none, the first is image 1"),
    ("train_test_split.txt", "".join(f"{i} {i % 3}\n" for i in range(1, 31)), "train_test_split.txt must give each image of images.txt 0 or 1; 10 of 30"),
    ("images/001.Black_Bird_0/Black_Bird_0_0001_797.jpg", None, "0001_797.jpg cannot be read .*1 of 30 images"),
])
def test_cub200_refuses(tmp_path, file, text, what):
    path = layouts.cub200(tmp_path)/"CUB_200_2011"/file
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises((ValueError, FileNotFoundError), match=what) as e: load_dataset("cub200", tmp_path, **SMALL)
    assert "\n" not in str(e.value)


def test_caltech256(tmp_path):
    root = layouts.caltech256(tmp_path)/"256_ObjectCategories"
    s, all_ = load_dataset("caltech256", tmp_path, **SMALL), load_dataset("caltech256", tmp_path, clutter=True, **SMALL)
    assert s.classes == ["ak47", "american-flag", "dog", "spider"] and all_.classes == [*s.classes, "clutter"]
    assert np.bincount(s.labels).tolist() == [8]*4 and np.bincount(s.test_labels).tolist() == [2]*4 and np.bincount(all_.labels).tolist() == [8]*5
    there = {str(p) for p in root.glob("*/*.jpg") if p.parent.name != "257.clutter"}
    assert set(s.train.paths) | set(s.test.paths) == there and len(there) == 40 and s.test.paths == load_dataset("caltech256", root, **SMALL).test.paths
    assert s.train.take([*range(32)]).shape == (3, 32, 32) # grey ones too
    for p in (root/"002.american-flag").glob("*"): p.unlink()
    with pytest.raises(FileNotFoundError, match="002.american-flag holds no images"): load_dataset("caltech256", tmp_path, **SMALL)
    layouts.coloured(root/"002.american-flag/002_0001.jpg", 1, 0)
    with pytest.raises(ValueError, match="class '002.american-flag' has 1 image; two or more"): load_dataset("caltech256", tmp_path, **SMALL)


@pytest.mark.parametrize("name", ["webvision50", "clothing100k", "cub200", "caltech256"])
def test_class_folders(tmp_path, name):
    layouts.class_folders(tmp_path/"all", train=5, val=2, test=3)
    layouts.class_folders(tmp_path/"two", train=5, val=2)
    s, two = (load_dataset(name, tmp_path/d, **SMALL) for d in ("all", "two"))
    assert s.classes == list("0123") and s.labels.tolist() == np.repeat(range(4), 5).tolist() == two.labels.tolist()
    assert s.test_labels.tolist() == np.repeat(range(4), 3).tolist() and list(s.tests) == ["val"] and s.tests["val"][1].tolist() == np.repeat(range(4), 2).tolist() == two.test_labels.tolist() and not two.tests
    assert all("/test/" in p for p in s.test.paths) and all("/val/" in p for p in (*s.tests["val"][0].paths, *two.test.paths)) and s.tests["val"][0].scale == s.train.scale
    with pytest.raises(FileNotFoundError, match=dict(cub200="images.txt does not exist", caltech256="holds 0 class folders").get(name, "must hold train/, and test/ or val/")): load_dataset(name, tmp_path/"all/train/0", **SMALL)
    shutil.rmtree(tmp_path/"all/val/2")
    with pytest.raises(FileNotFoundError, match="class folder .*val/2 holds no images"): load_dataset(name, tmp_path/"all", **SMALL)


def test_clutter_of_class_folders(tmp_path):
    for part in ("train", "val"):
        for c, name in enumerate(("001.ak47", "002.flag", "257.clutter")): layouts.coloured(tmp_path/part/name/f"{part}.jpg", c, c)
    assert load_dataset("caltech256", tmp_path, **SMALL).classes == ["ak47", "flag"] and load_dataset("caltech256", tmp_path, clutter=True, **SMALL).classes == ["ak47", "flag", "clutter"]


@pytest.mark.parametrize("name", ["tinyimagenet", "cub200", "caltech256", "webvision50", "clothing100k"])
def test_options_and_folder(tmp_path, name):
    with pytest.raises(FileNotFoundError, match="needs data_dir: a folder with"): load_dataset(name)
    with pytest.raises(FileNotFoundError): load_dataset(name, tmp_path)
    with pytest.raises(ValueError, match="image_size must be a whole number of at least 8"): load_dataset(name, tmp_path, image_size=4)
    with pytest.raises(ValueError, match="unknown option of data set"): load_dataset(name, tmp_path, split="official")


@pytest.mark.parametrize("name, inner", [("cub200", "CUB_200_2011"), ("caltech256", "256_ObjectCategories")])
def test_a_run_finds_its_pictures(tmp_path, name, inner):
    getattr(layouts, name)(tmp_path/"data")
    for k, folder in enumerate((tmp_path/"data", tmp_path/"data"/inner)): # the record names files below data_dir
        run = run_method(method="ce", dataset=name, data_dir=folder, data_options=SMALL, model="cnn", epochs=1, batch_size=8, probe_size=0, noise="symmetric", noise_rate=.2, device="cpu", run_dir=tmp_path/str(k), quiet=True)
        take, classes = run_pictures(run)
        source = load_dataset(name, folder, **SMALL)
        assert (take([3, 0]) == replace(source.train, centre=1.).take([3, 0]).pixels).all() and classes == source.classes and run.labels.file.tolist() == source.files


def test_a_run_measures_both_test_sets(tmp_path):
    layouts.class_folders(tmp_path/"data", train=5, val=2, test=3)
    run = run_method(method="ce", dataset="webvision50", data_dir=tmp_path/"data", data_options=SMALL, model="cnn", epochs=1, batch_size=8, probe_size=0, noise="none", device="cpu", run_dir=tmp_path/"run", quiet=True)
    assert {"test_accuracy", "val_accuracy"} <= set(run.metrics) and not run.labels.flipped.any()


@pytest.mark.parametrize("given, expected", [
    (dict(dataset="tinyimagenet"), dict(study="td", noise="symmetric", noise_rate=.2, model="resnet32-s2", weights="random", epochs=200, batch_size=128, schedule=dict(milestones=[100, 150], gamma=.1), dynamics="evaluation", keep_probs=10)),
    (dict(dataset="cub200", noise_rate=.4), dict(study="td", noise_rate=.4, model="resnet34", weights="IMAGENET1K_V1", lr=.1, nesterov=True, weight_decay=1e-4, probe_size=0)),
    (dict(dataset="caltech256", model="resnet50"), dict(weights="IMAGENET1K_V1")), (dict(dataset="caltech256", model="cnn"), dict(weights="random", epochs=200)),
    (dict(dataset="caltech256", study="td_retrain"), dict(model="resnet34", epochs=300, batch_size=256, schedule=dict(milestones=[150], gamma=.1), keep_probs=False)),
    (dict(dataset="webvision50"), dict(study="td", noise="none", noise_rate=0., model="resnet50", weights="random", epochs=200)),
    (dict(dataset="webvision50", method="dividemix"), dict(study="dividemix", noise="none", model="resnet50", epochs=100, batch_size=32, lr=.01)), (dict(dataset="cub200", method="dividemix"), dict(study="dividemix", noise="uniform", epochs=300, weights="IMAGENET1K_V1")),
    (dict(dataset="clothing100k", study="td_retrain"), dict(noise="none", model="resnet50", epochs=300, batch_size=256, schedule=dict(milestones=[99, 201], gamma=.1))),
])
def test_presets_of_the_study(given, expected):
    c = resolve(**dict(method="ce", device="cpu") | given)[0]
    assert {k: getattr(c, k) for k in expected} == expected
