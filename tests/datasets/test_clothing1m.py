"""Clothing1M: a folder laid out as it is given out, with digits as the pictures."""
import numpy as np
import pytest
import torch
from PIL import Image

import layouts
import pixels
from noisykit.data.images import FolderImages
from noisykit.data.noise import make_noise
from noisykit.data.source import load_dataset
from noisykit.data.split import read_probe, split
from refusals import refused

@pytest.fixture
def shop(tmp_path): return layouts.clothing1m(tmp_path)

def load(shop, **options): return load_dataset("clothing1m", shop, image_size=16, **dict(workers=0) | options)

def test_labels_of_all_parts(shop):
    data = load(shop)
    k = np.arange(56)
    assert len(data.classes) == 14
    assert (data.labels == (k + k % 2) % 14).all()
    assert data.files[0] == "images/0/00/0,0.jpg"
    assert (data.test_labels == np.arange(98, 112) % 14).all()
    assert (data.tests["clean_val"][1] == np.arange(84, 98) % 14).all()
    assert (data.clean_labels == np.arange(42, 84) % 14).all()

def test_a_test_picture_is_cropped_in_the_middle(shop):
    data = load(shop)
    larger = pixels.resized(Image.open(data.test.paths[0]), (256, 256))
    seen = pixels.as_integers(pixels.resized(larger.crop((16, 16, 240, 240)), (16, 16)))
    assert abs(pixels.of_image(data.test, 0) - seen).mean() < 4

def test_augmentation_can_be_left_out(shop):
    data, rows = load(shop), [torch.arange(5)]
    plain, = load(shop, augment=False).train.batches(rows, key=(0, 1))
    assert (plain == next(data.train.batches(rows))).all()
    assert (plain != next(data.train.batches(rows, key=(0, 1)))).any()

def test_fewer_pictures(shop):
    few = load_dataset("clothing1m", shop, train_size=28, test_size=14, image_size=16)
    assert np.bincount(few.labels, minlength=14).max() <= 4
    assert len(few.undrawn) == 28
    assert len(few.tests["clean_val"][0]) == 14

def test_a_probe_image_may_be_among_the_training_images(shop):
    "It is in clean_train and in noisy_train: one file, so there is no doubt which is meant"
    (shop/"probe.txt").write_text("images/0/50/50,350.jpg")
    assert read_probe(shop/"probe.txt", load(shop)).tolist() == [8]

def test_a_large_probe_stays_in_files(shop):
    data = load(shop)
    data.clean = data.clean.subset(np.arange(10_500) % 42)
    data.clean_labels = data.clean_labels[np.arange(10_500) % 42]
    probe = split(data, make_noise(data.labels, 14), probe_size=10_500).probe
    assert isinstance(probe.images, FolderImages)
    assert probe.images.workers == 0
    assert len(probe) == len(probe.labels) == 10_500
    images, = probe.images.batches([torch.tensor([0, 42])], key=(0, "probe 3"))
    assert images.shape == (2, 3, 16, 16)
    assert (images[0] != images[1]).any()   # one picture, two places, two draws

def test_only_used_files_are_looked_at(shop):
    whole, few = load(shop), load(shop, train_size=14)
    (shop/few.undrawn[0]).unlink()
    assert load(shop, train_size=14).files == few.files
    with refused(r"image .* cannot be read \(FileNotFoundError.*1 of 84 images are unreadable", kinds=ValueError):
        load(shop)
    assert len(whole.train) + len(whole.test) + len(whole.tests["clean_val"][0]) == 84

# file -> what is written into it (None: it is removed), and what is said
REFUSED = [
    ("noisy_train_key_list.txt", "images/0/00/0,0.jpg\nimages/9/99/9.jpg\n",
     "1 of the 2 images in .* have no label in noisy_label_kv.txt; the first is 'images/9/99/9.jpg'"),
    ("clean_test_key_list.txt", "\n", "clean_test_key_list.txt is empty"),
    ("clean_label_kv.txt", "images/0/00/0,0.jpg 14\n", r"class 0\.\.13; 1 of 1"),
    ("clean_val_key_list.txt", None, r"has no clean_val_key_list.txt, there or in annotations/"),
    ("noisy_label_kv.txt", b"\xff\xfe\x00", "cannot be read as text"),
]

@pytest.mark.parametrize("file, written, said", REFUSED)
def test_wrong_files_are_refused(shop, file, written, said):
    path = shop/"annotations"/file
    if written is None: path.unlink()
    else: path.write_bytes(written if isinstance(written, bytes) else written.encode())
    with refused(said): load(shop)
