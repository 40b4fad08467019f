"""WebVision and Clothing1M: folders laid out as they are given out, with digits as the pictures."""
import numpy as np
import pytest
import torch
from PIL import Image

import layouts
from layouts import DIGITS, SYNSETS
from noisykit.data.source import load_dataset
from noisykit.data.split import describe, label_table, read_probe, split
from noisykit.data.images import FolderImages, TensorImages
from noisykit.data.noise import make_noise
from noisykit.record import claim_run_folder, write_labels

@pytest.fixture
def web(tmp_path): return layouts.webvision(tmp_path)


@pytest.fixture
def shop(tmp_path): return layouts.clothing1m(tmp_path)


def test_webvision(web):
    s = load_dataset("webvision", web, image_size=16, workers=0, num_classes=5)
    assert s.classes == [f"name {c}" for c in range(5)] and (np.bincount(s.labels) == 6).all() and s.test_labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert [int(f.split("/")[1][1:]) for f in s.files] == s.labels.tolist() and not s.tests and s.clean is None
    listed = [line.split() for line in (web/"info/train_filelist_google.txt").read_text().splitlines()]
    assert s.files == [f for f, c in listed if int(c) < 5] # in the list's order, which noise files rely on
    everything = load_dataset("webvision", web, image_size=16, workers=0, num_classes=5, sources="all")
    assert everything.files[:30] == s.files and (np.bincount(everything.labels) == 10).all()
    x, = s.test.batches([torch.tensor([3])])
    assert x.shape == (1, 3, 16, 16)


@pytest.mark.parametrize("layout", ["imagenet_val", "numbered"])
def test_imagenet_beside(web, layout):
    s = load_dataset("webvision", web, image_size=16, workers=0, num_classes=4, imagenet_dir=str(web/layout), clean_dir=str(web/layout), test_size=5)
    images, y = s.tests["imagenet"]
    assert len(images) == len(y) == 5 and set(y) <= set(range(4)) and len(s.test) == 5 # test_size counts for each of them
    whole = load_dataset("webvision", web, image_size=16, workers=0, num_classes=4, imagenet_dir=str(web/layout), clean_dir=str(web/layout))
    images, y = whole.tests["imagenet"]
    assert y.tolist() == np.repeat(range(4), 3).tolist() == whole.clean_labels.tolist()
    picture = (DIGITS.images[np.flatnonzero(DIGITS.target == 2)[13]]*15).astype(np.uint8)
    own = np.asarray(Image.fromarray(picture).convert("RGB").resize((40, 48)).resize((16, 16), Image.Resampling.BILINEAR, box=(0, 4, 40, 44)), int)
    assert abs(images.take([7]).pixels[0].permute(1, 2, 0).numpy() - own).mean() < 3 # the right picture, but for JPEG


def test_clean_probe(web):
    s = load_dataset("webvision", web, image_size=16, workers=0, num_classes=5, clean_dir=str(web/"imagenet_val"))
    noise = make_noise(s.labels, 5)
    data = split(s, noise, probe_size=10, val_share=.2, seed=1)
    assert np.bincount(data.probe.labels).tolist() == [2]*5 and isinstance(data.probe.images, TensorImages)
    assert len(data.index) + len(data.valid) == 30 and len(data.parts["probe"]) == 0 # nothing is taken out of the training set
    assert (split(s, noise, probe_size=10, seed=1).probe.images.pixels == data.probe.images.pixels).all() and (split(s, noise, probe_size=10, seed=2).probe.images.pixels != data.probe.images.pixels).any()
    assert split(s, noise, probe_size=15).probe.labels.tolist() == s.clean_labels.tolist() and len(split(s, noise).probe) == 0
    (web/"probe.txt").write_text(f"ILSVRC2012_val_21\nimagenet_val/{SYNSETS[1]}/ILSVRC2012_val_12.JPEG\n")
    named = read_probe(web/"probe.txt", s)
    assert named.tolist() == [7, 5] and split(s, noise, probe=named).probe.labels.tolist() == [1, 2]
    for text, what in ((s.files[0], "1 of the 1 .* are not among the 15 clean images .1 training.; the first"), ("nowhere.jpg", "are not in data set 'webvision'")):
        (web/"probe.txt").write_text(text)
        with pytest.raises(ValueError, match=what): read_probe(web/"probe.txt", s)
    with pytest.raises(ValueError, match="outside 0..15: there are 15 clean images"): split(s, noise, probe_size=16)
    with pytest.raises(ValueError, match="positions 0..14 of clean images"): split(s, noise, probe=[15])


def test_record_of_a_clean_probe(web):
    s = load_dataset("webvision", web, image_size=16, workers=0, num_classes=5, clean_dir=str(web/"imagenet_val"))
    data = split(s, make_noise(s.labels, 5), probe_size=10, val_share=.2)
    run = claim_run_folder(web/"run", {}, {}, {})
    write_labels(run, label_table(data), describe(data))
    write_labels(run, label_table(data), describe(data)) # the same again
    other = split(s, make_noise(s.labels, 5), val_share=.2, probe=data.probe.index[::-1][:9])
    with pytest.raises(ValueError, match="made from other data"): write_labels(run, label_table(other), describe(other))
    assert run.data["clean"] == data.probe.index.tolist() and len(set(run.data["clean"])) == 10
    assert run.all_labels.split.value_counts().to_dict() == dict(train=24, valid=6) and (run.all_labels.given == s.labels).all()


def test_a_large_probe_stays_in_files(shop):
    s = load_dataset("clothing1m", shop, image_size=16, workers=0)
    s.clean = s.clean.subset(np.arange(10_500) % 42)
    s.clean_labels = s.clean_labels[np.arange(10_500) % 42]
    data = split(s, make_noise(s.labels, 14), probe_size=10_500)
    assert isinstance(data.probe.images, FolderImages) and data.probe.images.workers == 0 and len(data.probe) == len(data.probe.labels) == 10_500
    x, = data.probe.images.batches([torch.tensor([0, 42])], key=(0, "probe 3"))
    assert x.shape == (2, 3, 16, 16) and (x[0] != x[1]).any() # one picture, two places, two draws


def test_clothing1m(shop):
    s = load_dataset("clothing1m", shop, image_size=16, workers=0)
    k = np.arange(56)
    assert len(s.classes) == 14 and (s.labels == (k + k % 2) % 14).all() and s.files[0] == "images/0/00/0,0.jpg"
    assert (s.test_labels == np.arange(98, 112) % 14).all() and (s.tests["clean_val"][1] == np.arange(84, 98) % 14).all() and (s.clean_labels == np.arange(42, 84) % 14).all()
    picture = Image.open(s.test.paths[0])
    resized = np.asarray(picture.resize((256, 256), Image.Resampling.BILINEAR).crop((16, 16, 240, 240)).resize((16, 16), Image.Resampling.BILINEAR), int)
    assert abs(s.test.take([0]).pixels[0].permute(1, 2, 0).numpy() - resized).mean() < 4
    plain = load_dataset("clothing1m", shop, image_size=16, workers=0, augment=False)
    same, = plain.train.batches([torch.arange(5)], key=(0, 1))
    assert (same == next(s.train.batches([torch.arange(5)]))).all() and (same != next(s.train.batches([torch.arange(5)], key=(0, 1)))).any()
    few = load_dataset("clothing1m", shop, train_size=28, test_size=14, image_size=16)
    assert np.bincount(few.labels, minlength=14).max() <= 4 and len(few.undrawn) == 28 and len(few.tests["clean_val"][0]) == 14
    (shop/"probe.txt").write_text("images/0/50/50,350.jpg") # in clean_train and in noisy_train, which is no doubt: it is one file
    assert read_probe(shop/"probe.txt", s).tolist() == [8]


def test_only_used_files_are_looked_at(shop):
    whole = load_dataset("clothing1m", shop, image_size=16, workers=0)
    few = load_dataset("clothing1m", shop, image_size=16, workers=0, train_size=14)
    unused = shop/few.undrawn[0]
    unused.unlink()
    assert load_dataset("clothing1m", shop, image_size=16, workers=0, train_size=14).files == few.files
    with pytest.raises(ValueError, match=r"image .* cannot be read \(FileNotFoundError.*1 of 84 images are unreadable"): load_dataset("clothing1m", shop, image_size=16, workers=0)
    assert len(whole.train) + len(whole.test) + len(whole.tests["clean_val"][0]) == 84


@pytest.mark.parametrize("file, text, what", [
    ("info/train_filelist_google.txt", "google/q0000/0.jpg\n", "name of an image and a class 0..5; 1 of 1 are not, the first is 'google/q0000/0.jpg'"),
    ("info/train_filelist_google.txt", "google/q0000/0.jpg 6\n", "class 0..5; 1 of 1"),
    ("info/train_filelist_google.txt", "", "train_filelist_google.txt is empty; each line"),
    ("info/val_filelist.txt", "val000000.jpg -1\n", "the first is 'val000000.jpg -1'"),
    ("info/val_filelist.txt", None, "val_filelist.txt does not exist"),
    ("info/synsets.txt", None, "synsets.txt does not exist"),
    ("info/train_filelist_flickr.txt", None, "train_filelist_flickr.txt does not exist"),
    ("val_images_256/val000003.jpg", None, r"val000003.jpg cannot be read .*1 of 60 images"),
    ("google/q0001/3.jpg", "no picture", r"q0001/3.jpg cannot be read .*1 of 60 images"),
])
def test_webvision_refuses(web, file, text, what):
    if text is None: (web/file).unlink()
    else: (web/file).write_text(text)
    with pytest.raises((ValueError, FileNotFoundError), match=what) as e: load_dataset("webvision", web, image_size=16, workers=0, num_classes=5, sources="all")
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("options, what", [
    (dict(num_classes=1), r"num_classes 1 is outside 2\.\.6"), (dict(num_classes=7), r"2\.\.6"), (dict(sources="flickr"), "unknown data option sources 'flickr'"),
    (dict(imagenet_dir="nowhere"), r"imagenet_dir nowhere must hold a folder for each class, called 0\.\.4 or n01440764\.\.n01440792"), (dict(clean_dir="nowhere"), "clean_dir nowhere must"),
    (dict(image_size=4), "image_size must be a whole number of at least 8"), (dict(imagenet_dir=3), "imagenet_dir must be text"),
])
def test_webvision_options(web, options, what):
    with pytest.raises((ValueError, FileNotFoundError), match=what): load_dataset("webvision", web, **dict(num_classes=5) | options)


@pytest.mark.parametrize("file, text, what", [
    ("noisy_train_key_list.txt", "images/0/00/0,0.jpg\nimages/9/99/9.jpg\n", "1 of the 2 images in .* have no label in noisy_label_kv.txt; the first is 'images/9/99/9.jpg'"),
    ("clean_test_key_list.txt", "\n", "clean_test_key_list.txt is empty"),
    ("clean_label_kv.txt", "images/0/00/0,0.jpg 14\n", r"class 0\.\.13; 1 of 1"),
    ("clean_val_key_list.txt", None, r"has no clean_val_key_list.txt, there or in annotations/"),
    ("noisy_label_kv.txt", b"\xff\xfe\x00", "cannot be read as text"),
])
def test_clothing1m_refuses(shop, file, text, what):
    path = shop/"annotations"/file
    if text is None: path.unlink()
    else: path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises((ValueError, FileNotFoundError), match=what) as e: load_dataset("clothing1m", shop, image_size=16, workers=0)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("name", ["webvision", "clothing1m"])
def test_needs_a_folder(name, tmp_path):
    with pytest.raises(FileNotFoundError, match="needs data_dir"): load_dataset(name)
    with pytest.raises(FileNotFoundError): load_dataset(name, tmp_path)
