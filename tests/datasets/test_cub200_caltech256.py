"""CUB-200 and Caltech-256: folders laid out as their archives have them, with coloured digits as the pictures."""
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import layouts
import pixels
from noisykit.data.images import FolderImages
from noisykit.data.source import load_dataset
from noisykit.pictures import run_pictures
from noisykit.run import run_method
from refusals import refused

FILES = dict(image_size=32, workers=0)

@pytest.fixture
def cub(tmp_path): return layouts.cub200(tmp_path)/"CUB_200_2011"

@pytest.fixture
def caltech(tmp_path): return layouts.caltech256(tmp_path)/"256_ObjectCategories"

# ---- CUB-200

def test_cub_files_and_labels(cub):
    "Every second picture is one to train on; the folder may be given, or the one inside"
    data = load_dataset("cub200", cub.parent, **FILES)
    files = [line.split()[1] for line in (cub/"images.txt").read_text().splitlines()]
    assert data.classes == [f"Black_Bird_{c}" for c in range(5)]
    assert data.files == [f"CUB_200_2011/images/{file}" for file in files[1::2]]
    assert load_dataset("cub200", cub, **FILES).files == [f"images/{file}" for file in files[1::2]]
    assert data.labels.tolist() == data.test_labels.tolist() == np.repeat(range(5), 3).tolist()
    assert [int(file.split("/")[2][:3]) - 1 for file in data.files] == data.labels.tolist()

def test_a_cub_test_picture_is_cropped_in_the_middle(cub):
    data = load_dataset("cub200", cub.parent, **FILES)
    path = data.test.paths[4]   # height 48: the shorter side
    width, height = Image.open(path).size
    shorter = pixels.resized(Image.open(path), (round(width*256/height), 256))
    left = (shorter.width - 224)/2
    seen = pixels.as_integers(pixels.resized(shorter.crop((left, 16, left + 224, 240)), (32, 32)))
    assert abs(pixels.of_image(data.test, 4) - seen).mean() < 4

def test_cub_pictures_are_augmented_anew_in_each_epoch(cub):
    data, rows = load_dataset("cub200", cub.parent, **FILES), [torch.arange(4)]
    assert data.train.scale == (.08, 1.)
    assert isinstance(data.train, FolderImages)
    first, second = (next(data.train.batches(rows, key=(0, epoch))) for epoch in (1, 2))
    assert first.shape == (4, 3, 32, 32)
    assert (first != second).any()
    assert (next(data.test.batches(rows, key=(0, 1))) == next(data.test.batches(rows, key=(0, 1)))).all()

# file -> what is written into it (None: it is removed), and what is said
CUB_REFUSED = [
    ("images.txt", None, "images.txt does not exist"),
    ("images.txt", "1\n",
     "each line of .*images.txt must be a number and the path of an image; 1 of 1 are not, the first is '1'"),
    ("classes.txt", "", "classes.txt is empty; each line must be a number and the name of a class"),
    ("image_class_labels.txt", "1 1\n",
     "must give each image of images.txt a class of classes.txt; 29 of 30 have none, the first is image 2"),
    ("image_class_labels.txt", "".join(f"{i} 0\n" for i in range(1, 31)), "30 of 30 have none, the first is image 1"),
    ("train_test_split.txt", "".join(f"{i} {i % 3}\n" for i in range(1, 31)),
     "train_test_split.txt must give each image of images.txt 0 or 1; 10 of 30"),
    ("images/001.Black_Bird_0/Black_Bird_0_0001_797.jpg", None, "0001_797.jpg cannot be read .*1 of 30 images"),
]

@pytest.mark.parametrize("file, written, said", CUB_REFUSED)
def test_wrong_cub_files_are_refused(cub, file, written, said):
    path = cub/file
    if written is None: path.unlink()
    else: path.write_text(written)
    with refused(said): load_dataset("cub200", cub.parent, **FILES)

# ---- Caltech-256

def test_caltech_pictures_and_clutter(caltech):
    data = load_dataset("caltech256", caltech.parent, **FILES)
    with_clutter = load_dataset("caltech256", caltech.parent, clutter=True, **FILES)
    assert data.classes == ["ak47", "american-flag", "dog", "spider"]
    assert with_clutter.classes == [*data.classes, "clutter"]
    assert np.bincount(data.labels).tolist() == [8]*4
    assert np.bincount(data.test_labels).tolist() == [2]*4
    assert np.bincount(with_clutter.labels).tolist() == [8]*5
    there = {str(path) for path in caltech.glob("*/*.jpg") if path.parent.name != "257.clutter"}
    assert set(data.train.paths) | set(data.test.paths) == there
    assert len(there) == 40
    assert data.test.paths == load_dataset("caltech256", caltech, **FILES).test.paths
    assert data.train.take([*range(32)]).shape == (3, 32, 32)   # grey ones too

def test_too_few_pictures_of_a_caltech_class(caltech):
    for path in (caltech/"002.american-flag").glob("*"): path.unlink()
    with refused("002.american-flag holds no images", kinds=FileNotFoundError):
        load_dataset("caltech256", caltech.parent, **FILES)
    layouts.coloured(caltech/"002.american-flag/002_0001.jpg", 1, 0)
    with refused("class '002.american-flag' has 1 image; two or more", kinds=ValueError):
        load_dataset("caltech256", caltech.parent, **FILES)

# ---- in a run

@pytest.mark.parametrize("name, inner", [("cub200", "CUB_200_2011"), ("caltech256", "256_ObjectCategories")])
def test_a_run_finds_its_pictures(tmp_path, name, inner):
    "The record names files below data_dir"
    getattr(layouts, name)(tmp_path/"data")
    for number, folder in enumerate((tmp_path/"data", tmp_path/"data"/inner)):
        run = run_method(method="ce", dataset=name, data_dir=folder, data_options=FILES, model="cnn", epochs=1,
                         batch_size=8, probe_size=0, noise="symmetric", noise_rate=.2, device="cpu",
                         run_dir=tmp_path/str(number), quiet=True)
        take, classes = run_pictures(run)
        data = load_dataset(name, folder, **FILES)
        assert (take([3, 0]) == replace(data.train, centre=1.).take([3, 0]).pixels).all()
        assert classes == data.classes
        assert run.labels.file.tolist() == data.files
