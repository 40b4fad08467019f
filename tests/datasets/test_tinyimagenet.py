"""Tiny ImageNet: a folder laid out as its zip has it, with coloured digits as the pictures."""
import shutil

import numpy as np
import pytest
from PIL import Image

import layouts
import pixels
from noisykit.data.source import load_dataset
from refusals import refused

@pytest.fixture
def root(tmp_path): return layouts.tinyimagenet(tmp_path)/"tiny-imagenet-200"

def pixels_of_all(images): return images.pixels.permute(0, 2, 3, 1).numpy()

def lines(path): return path.read_text().splitlines()

def test_the_folder_or_the_one_inside(root):
    outer, inner = load_dataset("tinyimagenet", root.parent), load_dataset("tinyimagenet", root)
    assert (inner.train.pixels == outer.train.pixels).all()
    assert (inner.test.pixels == outer.test.pixels).all()

def test_classes_and_settings(root):
    data = load_dataset("tinyimagenet", root.parent)
    assert lines(root/"wnids.txt") != sorted(lines(root/"wnids.txt"))   # the list has an order of its own
    assert data.classes == [f"name {c}" for c in range(4)]
    assert data.train.shape == data.test.shape == (3, 64, 64)
    assert (data.train.pad, data.train.flip) == (8, True)
    assert (data.test.pad, data.test.flip) == (0, False)
    assert data.train.mean == data.test.mean == (.485, .456, .406)

def test_pictures_and_labels_to_train_on(root):
    data = load_dataset("tinyimagenet", root.parent)
    wnids = sorted(lines(root/"wnids.txt"))
    assert data.labels.tolist() == np.repeat(range(4), 6).tolist()
    paths = sorted((root/"train").glob("*/images/*.JPEG"))
    for image, label, path in zip(pixels_of_all(data.train), data.labels, paths):
        assert (image == pixels.of_file(path)).all()
        assert wnids[label] == path.parts[-3]

def test_grey_pictures(root):
    "The real set has some"
    data = load_dataset("tinyimagenet", root.parent)
    wnid = sorted(lines(root/"wnids.txt"))[0]
    grey = (data.train.pixels[:, 0] == data.train.pixels[:, 1]).flatten(1).all(1)
    assert grey.sum() == 4
    assert Image.open(root/"train"/wnid/"images"/f"{wnid}_5.JPEG").mode == "L"

def test_pictures_and_labels_to_test_on(root):
    data = load_dataset("tinyimagenet", root.parent)
    wnids = sorted(lines(root/"wnids.txt"))
    annotations = lines(root/"val/val_annotations.txt")
    for image, label, line in zip(pixels_of_all(data.test), data.test_labels, annotations):
        file, wnid, *_ = line.split("\t")
        assert wnid == wnids[label]
        assert (image == pixels.of_file(root/"val/images"/file)).all()

def test_smaller_pictures_and_fewer(root):
    data = load_dataset("tinyimagenet", root, image_size=32, train_size=8)
    assert data.train.shape == (3, 32, 32)
    assert data.train.pad == 4
    assert np.bincount(data.labels).tolist() == [2]*4

def labelled(data):
    "(label, pixels) of each test picture, sorted"
    return sorted((int(label), image.numpy().tobytes()) for label, image in zip(data.test_labels, data.test.pixels))

@pytest.mark.parametrize("into", ["val", "nested", "images"])
def test_validation_pictures_in_class_folders(root, into):
    "As some scripts leave them"
    before = load_dataset("tinyimagenet", root.parent)
    layouts.move_val(root.parent, into)
    after = load_dataset("tinyimagenet", root.parent)
    assert labelled(before) == labelled(after)
    assert after.test_labels.tolist() == sorted(before.test_labels)

# file -> what is written into it (None: it is removed), and what is said
REFUSED = [
    ("wnids.txt", None, "wnids.txt does not exist"),
    ("wnids.txt", "n01443537\n", "wnids.txt must hold two synsets or more, one a line; it holds 1"),
    ("wnids.txt", "n01443537\nn09999999\n",
     "1 of the 2 synsets in .* are not in words.txt; the first is 'n09999999'"),
    ("words.txt", None, "words.txt does not exist"),
    ("words.txt", "n01443537 name without a tab\n",
     "each line of .*words.txt must be a synset and its names, with a tab between; 1 of 1"),
    ("val/val_annotations.txt", None, "val_annotations.txt does not exist"),
    ("val/val_annotations.txt", "",
     "val_annotations.txt is empty; each line must be an image, its synset and its box"),
    ("val/val_annotations.txt", "val_0.JPEG\tn09999999\t0\t1\t2\t3\n",
     "1 of the 1 images in .* have a synset that is not in wnids.txt; the first is val_0.JPEG, 'n09999999'"),
    ("val/val_annotations.txt", "val_0.JPEG\tn01443537\t0\nval_0.JPEG\tn01443634\t0\n",
     "must be an image, its synset and its box, with tabs between; 'val_0.JPEG' is there twice"),
    ("val/images/val_3.JPEG", None, r"val_3.JPEG cannot be read \(FileNotFoundError"),
    ("train/n01443537/images/n01443537_2.JPEG", "no picture", "n01443537_2.JPEG cannot be read"),
    ("train/n01443537/images", None, "n01443537 holds no images"),
]

@pytest.mark.parametrize("file, written, said", REFUSED)
def test_wrong_files_are_refused(root, file, written, said):
    path = root/file
    if written is not None: path.write_text(written)
    elif path.is_dir(): shutil.rmtree(path)
    else: path.unlink()
    with refused(said): load_dataset("tinyimagenet", root.parent)
