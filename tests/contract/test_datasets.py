"""What every data set keeps, on small real pictures in the layouts that they are given out in: pictures and labels that
belong together, the same ones again, as many as were asked for, and a sentence where a file is missing or damaged."""
import gzip
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import commands
import layouts
from noisykit.data.images import FolderImages
from noisykit.data.source import DATASETS, known_datasets, load_dataset
from shared import once

FILES = dict(image_size=16, workers=0)   # no processes for a few small pictures
# data set -> (its place below the shared folder, options); a new one has a line here and its files in `make`
PLACES = {
    "mnist5k": (None, {}), "digits": (None, {}), "fashion_mnist": ("fashion_mnist", {}),
    "cifar10": ("data/cifar10", {}), "cifar100": ("data/cifar100", {}), "animal10n": ("data/animal-10n", {}),
    "isic2019": ("data/isic2019", FILES), "clothing1m": ("data/clothing1m", FILES),
    "webvision": ("data/webvision", FILES | dict(num_classes=6)), "webvision50": ("data/webvision50", FILES),
    "clothing100k": ("data/clothing100k", FILES), "tinyimagenet": ("data/tinyimagenet", {}),
    "cub200": ("data/cub200", FILES), "caltech256": ("data/caltech256", FILES),
    "imagefolder": ("pictures", FILES), "imagelist": ("pictures/images.csv", FILES), "text": ("data/text", {}),
}
every_dataset = pytest.mark.parametrize("name", PLACES)
with_files = pytest.mark.parametrize("name", [name for name, (place, _) in PLACES.items() if place])

def make(folder):
    commands.make_data(folder)
    make_fashion(folder/"fashion_mnist")
    layouts.class_folders(folder, pictures=20)
    pictures = sorted((folder/"pictures").glob("*/*.jpg"))
    rows = [f"{p.relative_to(folder/'pictures')},digit {p.parent.name}" for p in pictures]
    layouts.write(folder/"pictures/images.csv", ["path,label", *rows])

def make_fashion(folder):
    "Digits as idx files, one part gzipped"
    folder.mkdir()
    for part, rows in (("train", slice(0, 200)), ("t10k", slice(200, 260))):
        pixels = np.kron(layouts.DIGITS.images[rows], np.ones((3, 3))).astype(np.uint8)*15
        pixels = np.pad(pixels, ((0, 0), (2, 2), (2, 2)))
        for kind, values in (("images-idx3", pixels), ("labels-idx1", layouts.DIGITS.target[rows].astype(np.uint8))):
            head = bytes([0, 0, 8, values.ndim]) + b"".join(n.to_bytes(4, "big") for n in values.shape)
            write = gzip.open if part == "t10k" else open
            with write(folder/f"{part}-{kind}-ubyte{'.gz'*(part == 't10k')}", "wb") as file:
                file.write(head + values.tobytes())

@pytest.fixture(scope="module")
def folder(tmp_path_factory): return once(tmp_path_factory, "data", make)

def load(name, folder, **more):
    place, options = PLACES[name]
    return load_dataset(name, place and str(folder/place), **options | more)

def pixels(images): return images.batches([torch.arange(len(images))]).__next__()

def test_every_data_set_is_here(): assert set(PLACES) == set(known_datasets())

@every_dataset
def test_pictures_and_labels_belong_together(name, folder):
    s = load(name, folder)
    assert s.name == name and len(set(s.classes)) == len(s.classes) >= 2
    assert s.superclass is None or len(s.superclass) == len(s.classes)
    one = s.train.batches([torch.tensor([0])]).__next__()
    for images, labels in s.parts.values():
        assert len(images) == len(labels) > 0
        assert labels.dtype == np.int64 and 0 <= labels.min() and labels.max() < len(s.classes)
        x = pixels(images)
        assert x.shape == (len(labels), *one.shape[1:]) and torch.isfinite(x.double()).all()
        assert len(torch.unique(x.flatten(1), dim=0)) > len(x)/2   # pictures, not one of them

def rows(images):
    "Each picture as a row, texts as counts of their words"
    x = pixels(images)
    if x.is_floating_point(): return x.flatten(1).double()
    counts = torch.zeros(len(x), 10_000, dtype=torch.float64)
    return counts.scatter_add_(1, x.long(), torch.ones(x.shape, dtype=torch.float64))

# here labels go by the file's number, not by what is in the picture: datasets/test_clothing1m.py compares them
UNLIKE = {"clothing1m"}

@pytest.mark.parametrize("name", [name for name in PLACES if name not in UNLIKE])
def test_like_pictures_have_like_labels(name, folder):
    "A label says something about its picture: what the nearest training picture is called is often right"
    size = min(1000, len(load(name, folder).labels) - 1)
    s = load(name, folder, train_size=size, test_size=None)
    nearest = torch.cdist(rows(s.test)[:300], rows(s.train)).argmin(1).numpy()
    right = (s.labels[nearest] == s.test_labels[:300]).mean()
    by_chance = max(np.bincount(s.test_labels).max()/len(s.test_labels), 1/len(set(s.labels)))
    assert right > 2*by_chance
    assert len(set(s.labels)) == len(s.classes) - (name == "isic2019")   # which has no picture of its last class

@every_dataset
def test_files_are_those_of_the_pictures(name, folder):
    s = load(name, folder)
    if s.root is None: return
    assert len(s.files) == len(set(s.files)) == len(s.labels)
    assert all((s.root/file).is_file() for file in s.files)
    test = {Path(p).resolve() for p in getattr(s.test, "paths", [])}
    assert not test & {(s.root/file).resolve() for file in s.files}

@every_dataset
def test_the_same_again(name, folder):
    "Whatever random numbers were drawn before, and none are drawn"
    first = load(name, folder, train_size=20 if name != "cifar100" else 110)
    np.random.seed(5)
    torch.manual_seed(5)
    state = np.random.get_state()[1].copy(), torch.get_rng_state()
    again = load(name, folder, train_size=20 if name != "cifar100" else 110)
    assert (first.labels == again.labels).all() and (first.test_labels == again.test_labels).all()
    assert torch.equal(pixels(first.train), pixels(again.train)) and first.files == again.files
    assert (np.random.get_state()[1] == state[0]).all() and torch.equal(torch.get_rng_state(), state[1])

@every_dataset
def test_as_many_as_are_asked_for(name, folder):
    whole = load(name, folder)
    classes = len(set(whole.labels))
    size = max(classes, len(whole.labels)//2)
    s = load(name, folder, train_size=size, test_size=len(set(whole.test_labels)))
    assert len(s.train) == len(s.labels) == size and len(s.test) == len(set(whole.test_labels))
    assert set(s.labels) == set(whole.labels)
    share = abs(np.bincount(s.labels)/size - np.bincount(whole.labels)/len(whole.labels))
    assert share.max() <= 1/size + 1e-9   # the class shares are kept
    drawn = load(name, folder, train_size=size, sample="drawn", sample_seed=1)
    assert len(drawn.train) == size
    if whole.root: assert sorted([*s.files, *s.undrawn]) == sorted(whole.files) and set(drawn.files) != set(s.files)
    for wrong in (0, classes - 1, len(whole.labels) + 1):
        with pytest.raises(ValueError, match=f"train_size {wrong} is outside {classes}") as e:
            load(name, folder, train_size=wrong)
        assert "\n" not in str(e.value)

def refused(name, path, match):
    with pytest.raises((ValueError, OSError), match=match) as e: load_dataset(name, str(path), **PLACES[name][1])
    assert "\n" not in str(e.value)

@with_files
def test_a_folder_that_is_not_there(name, tmp_path):
    refused(name, tmp_path/"nowhere", "nowhere does not exist")
    if DATASETS[name].needs:
        with pytest.raises(FileNotFoundError, match=f"data set '{name}' needs data_dir"): load_dataset(name)

@with_files
def test_an_empty_folder(name, tmp_path):
    place = tmp_path/Path(PLACES[name][0]).name
    if DATASETS[name].from_file: place.touch()
    else: place.mkdir()
    refused(name, place, str(place))

@pytest.fixture
def copy(folder, tmp_path):
    def of(name):
        place = Path(PLACES[name][0])
        top = place.parent if DATASETS[name].from_file else place
        shutil.copytree(folder/top, tmp_path/"copy", symlinks=False)
        return tmp_path/"copy"/(place.name if DATASETS[name].from_file else "")
    return of

def beside_pictures(place):
    "The files that say what there is: all but pictures, noise files, and what the layouts hold that nobody reads"
    top = place.parent if place.is_file() else place
    files = [p for p in sorted(top.rglob("*")) if p.is_file() and p.suffix.lower() not in (".jpg", ".jpeg")]
    return [p for p in files if p.parent.name != "label_noisy" and not p.name.startswith(("clean_5", "RENAME"))]

def content(name, place):
    s = load_dataset(name, str(place), **PLACES[name][1])
    return [s.classes, s.labels.tolist(), s.test_labels.tolist(), s.files, pixels(s.train).sum().item()]

def in_one_sentence(error):
    assert isinstance(error, (ValueError, OSError)) and "\n" not in str(error), error
    return str(error)

# without its table of lesions ISIC is held out picture by picture; one table of texts alone is a data set
OPTIONAL = {"ISIC_2019_Training_Metadata.csv", "train.csv", "test.csv"}

@with_files
def test_a_file_that_is_missing(name, copy):
    "A sentence names what is missing, or the file changes nothing"
    place = copy(name)
    whole = content(name, place)
    for path in beside_pictures(place):
        if path.name in OPTIONAL: continue
        path.rename(aside := path.with_name(f"{path.name}.aside"))
        try: assert content(name, place) == whole, path
        except Exception as e: assert path.name.removesuffix(".gz") in in_one_sentence(e)
        aside.rename(path)

@with_files
def test_a_file_that_is_cut_short(name, copy):
    "A sentence, with the name of the file where it is no text"
    place = copy(name)
    for path in beside_pictures(place):
        whole = path.read_bytes()
        path.write_bytes(whole[:len(whole)//2])
        try: content(name, place)
        except Exception as e:
            said = in_one_sentence(e)
            assert path.suffix in (".csv", ".txt") or path.name in said
        else: assert path.suffix in (".csv", ".txt"), f"{path} was taken"
        path.write_bytes(whole)

@with_files
def test_a_picture_that_is_cut_short(name, copy):
    s = load_dataset(name, str(place := copy(name)), **PLACES[name][1])
    if not isinstance(s.train, FolderImages): return
    path = Path(s.train.paths[0])
    path.write_bytes(path.read_bytes()[:200])
    refused(name, place, path.name)
