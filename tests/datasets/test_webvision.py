"""WebVision: a folder laid out as it is given out, with digits as the pictures, and ImageNet's pictures beside it."""
import numpy as np
import pytest
import torch
from PIL import Image

import layouts
import pixels
from layouts import DIGITS, SYNSETS
from noisykit.data.images import TensorImages
from noisykit.data.noise import make_noise
from noisykit.data.source import load_dataset
from noisykit.data.split import describe, label_table, read_probe, split
from noisykit.record import claim_run_folder, write_labels
from refusals import refused

@pytest.fixture
def web(tmp_path): return layouts.webvision(tmp_path)

def load(web, **options):
    return load_dataset("webvision", web, **dict(image_size=16, workers=0, num_classes=5) | options)

def test_the_first_classes(web):
    data = load(web)
    assert data.classes == [f"name {c}" for c in range(5)]
    assert (np.bincount(data.labels) == 6).all()
    assert data.test_labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert [int(file.split("/")[1][1:]) for file in data.files] == data.labels.tolist()
    assert not data.tests
    assert data.clean is None
    image, = data.test.batches([torch.tensor([3])])
    assert image.shape == (1, 3, 16, 16)

def test_the_order_is_that_of_the_list(web):
    "Noise files rely on it"
    lines = [line.split() for line in (web/"info/train_filelist_google.txt").read_text().splitlines()]
    assert load(web).files == [file for file, label in lines if int(label) < 5]

def test_pictures_of_both_sources(web):
    both = load(web, sources="all")
    assert both.files[:30] == load(web).files
    assert (np.bincount(both.labels) == 10).all()

@pytest.mark.parametrize("layout", ["imagenet_val", "numbered"])
def test_imagenet_beside(web, layout):
    "As a test set and as clean images; test_size counts for each test set"
    beside = dict(num_classes=4, imagenet_dir=str(web/layout), clean_dir=str(web/layout))
    fewer = load(web, **beside, test_size=5)
    images, labels = fewer.tests["imagenet"]
    assert len(images) == len(labels) == 5 == len(fewer.test)
    assert set(labels) <= set(range(4))
    whole = load(web, **beside)
    images, labels = whole.tests["imagenet"]
    assert labels.tolist() == np.repeat(range(4), 3).tolist() == whole.clean_labels.tolist()
    digit = (DIGITS.images[np.flatnonzero(DIGITS.target == 2)[13]]*15).astype(np.uint8)
    picture = Image.fromarray(digit).convert("RGB").resize((40, 48))
    middle = pixels.as_integers(pixels.resized(picture, (16, 16), box=(0, 4, 40, 44)))
    assert abs(pixels.of_image(images, 7) - middle).mean() < 3   # the right picture, but for JPEG

# ---- the probe comes from the clean images

@pytest.fixture
def clean(web): return load(web, clean_dir=str(web/"imagenet_val"))

def test_a_clean_probe_takes_nothing_out_of_the_training_set(clean):
    noise = make_noise(clean.labels, 5)
    data = split(clean, noise, probe_size=10, val_share=.2, seed=1)
    assert np.bincount(data.probe.labels).tolist() == [2]*5
    assert isinstance(data.probe.images, TensorImages)
    assert len(data.index) + len(data.valid) == 30
    assert len(data.parts["probe"]) == 0
    assert split(clean, noise, probe_size=15).probe.labels.tolist() == clean.clean_labels.tolist()
    assert len(split(clean, noise).probe) == 0

def test_the_seed_draws_a_clean_probe(clean):
    noise = make_noise(clean.labels, 5)
    def drawn(**more): return split(clean, noise, probe_size=10, **more).probe.images.pixels
    assert (drawn(seed=1) == drawn(seed=1, val_share=.2)).all()
    assert (drawn(seed=2) != drawn(seed=1)).any()

def test_a_clean_probe_by_names(web, clean):
    (web/"probe.txt").write_text(f"ILSVRC2012_val_21\nimagenet_val/{SYNSETS[1]}/ILSVRC2012_val_12.JPEG\n")
    named = read_probe(web/"probe.txt", clean)
    assert named.tolist() == [7, 5]
    assert split(clean, make_noise(clean.labels, 5), probe=named).probe.labels.tolist() == [1, 2]

def test_clean_probes_that_are_refused(web, clean):
    noise = make_noise(clean.labels, 5)
    for name, said in ((clean.files[0], "1 of the 1 .* are not among the 15 clean images .1 training.; the first"),
                       ("nowhere.jpg", "are not in data set 'webvision'")):
        (web/"probe.txt").write_text(name)
        with refused(said, kinds=ValueError): read_probe(web/"probe.txt", clean)
    with refused("outside 0..15: there are 15 clean images", kinds=ValueError): split(clean, noise, probe_size=16)
    with refused("positions 0..14 of clean images", kinds=ValueError): split(clean, noise, probe=[15])

def test_the_record_of_a_clean_probe(web, clean):
    noise = make_noise(clean.labels, 5)
    data = split(clean, noise, probe_size=10, val_share=.2)
    run = claim_run_folder(web/"run", {}, {}, {})
    for _ in ("first", "the same again"): write_labels(run, label_table(data), describe(data))
    other = split(clean, noise, val_share=.2, probe=data.probe.index[::-1][:9])
    with refused("made from other data", kinds=ValueError): write_labels(run, label_table(other), describe(other))
    assert run.data["clean"] == data.probe.index.tolist()
    assert len(set(run.data["clean"])) == 10
    assert run.all_labels.split.value_counts().to_dict() == dict(train=24, valid=6)
    assert (run.all_labels.given == clean.labels).all()

# ---- what is refused

# file -> what is written into it (None: it is removed), and what is said
REFUSED = [
    ("info/train_filelist_google.txt", "google/q0000/0.jpg\n",
     "name of an image and a class 0..5; 1 of 1 are not, the first is 'google/q0000/0.jpg'"),
    ("info/train_filelist_google.txt", "google/q0000/0.jpg 6\n", "class 0..5; 1 of 1"),
    ("info/train_filelist_google.txt", "", "train_filelist_google.txt is empty; each line"),
    ("info/val_filelist.txt", "val000000.jpg -1\n", "the first is 'val000000.jpg -1'"),
    ("info/val_filelist.txt", None, "val_filelist.txt does not exist"),
    ("info/synsets.txt", None, "synsets.txt does not exist"),
    ("info/train_filelist_flickr.txt", None, "train_filelist_flickr.txt does not exist"),
    ("val_images_256/val000003.jpg", None, r"val000003.jpg cannot be read .*1 of 60 images"),
    ("google/q0001/3.jpg", "no picture", r"q0001/3.jpg cannot be read .*1 of 60 images"),
]

@pytest.mark.parametrize("file, written, said", REFUSED)
def test_wrong_files_are_refused(web, file, written, said):
    if written is None: (web/file).unlink()
    else: (web/file).write_text(written)
    with refused(said): load(web, sources="all")

NO_FOLDERS = r"imagenet_dir nowhere must hold a folder for each class, called 0\.\.4 or n01440764\.\.n01440792"
WRONG_OPTIONS = [
    (dict(num_classes=1), r"num_classes 1 is outside 2\.\.6"),
    (dict(num_classes=7), r"2\.\.6"),
    (dict(sources="flickr"), "unknown data option sources 'flickr'"),
    (dict(imagenet_dir="nowhere"), NO_FOLDERS),
    (dict(clean_dir="nowhere"), "clean_dir nowhere must"),
    (dict(image_size=4), "image_size must be a whole number of at least 8"),
    (dict(imagenet_dir=3), "imagenet_dir must be text"),
]

@pytest.mark.parametrize("options, said", WRONG_OPTIONS)
def test_wrong_options_are_refused(web, options, said):
    with refused(said): load_dataset("webvision", web, **dict(num_classes=5) | options)
