"""ISIC 2019 in the original's layout: what is read, refused, held out and drawn, and who is the probe."""
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from lesions import CLASSES, INPUT, META, TRUTH, change, copy_of, load, make_original, write_lesions
from noisykit.data.images import FolderImages
from noisykit.data.noise import make_noise
from noisykit.data.source import check_data_options, load_dataset
from noisykit.data.split import read_probe, split
from refusals import refused

@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("isic")
    make_original(folder)
    return folder

@pytest.fixture
def folder(original, tmp_path):
    "A copy that a test may change"
    copy_of(original, tmp_path)
    return tmp_path

# ---- what is read

def test_as_published(folder):
    data = load(folder)
    assert data.classes == CLASSES
    assert data.train.shape == (3, 16, 16)
    assert (data.train.scale, data.train.rotation) == ((.3, 1.), 180.)
    assert np.bincount(data.test_labels, minlength=9).tolist() == [2, 8, 2, 2, 2, 2, 2, 2, 0]
    assert len(data.train) == 124 - 22
    assert data.files[0].startswith(INPUT)
    assert load(folder).files == data.files

def test_whole_numbers_in_the_table(folder):
    "Other copies have 0 and 1 instead of 0.0 and 1.0"
    labels = load(folder).labels
    change(folder, lambda table: table.astype({name: int for name in CLASSES}))
    assert (load(folder).labels == labels).all()

def test_workers_and_order_change_no_pixel(folder):
    images, rows = replace(load(folder).train, size=32), torch.arange(20)
    whole, = images.batches([rows], key=(0, 1))
    for workers in (0, 2):
        last, first = replace(images, workers=workers).batches([rows[12:], rows[:12]], key=(0, 1))
        assert (torch.cat([first, last]) == whole).all()
    for key in ((0, 2), (1, 1)): assert (next(images.batches([rows], key=key)) != whole).any()
    assert whole.is_contiguous(memory_format=torch.channels_last)
    before = torch.get_rng_state()
    next(images.batches([rows], key=(0, 1)))
    assert (torch.get_rng_state() == before).all()
    plain, = images.batches([rows])
    assert (next(replace(images, augment=False).batches([rows], key=(0, 1))) == plain).all()

# ---- what is refused

def no_table(folder): (folder/TRUTH).unlink()

def no_pictures(folder): (folder/INPUT).unlink()

def only_the_zip(folder):
    (folder/INPUT).unlink()
    (folder/f"{INPUT}.zip").touch()

def empty_folder(folder):
    (folder/INPUT).unlink()
    (folder/INPUT).mkdir()

def written(content): return lambda folder: (folder/TRUTH).write_bytes(content)

def changed(how): return lambda folder: change(folder, how)

def column(**values): return changed(lambda table: table.assign(**values))

def other_names(table):
    return table.replace({"image": {"ISIC_0000001": "ISIC_0000001x", "ISIC_0000005": "y"}})

def no_lesion_id(folder): (folder/META).write_text("image,lesion\na,b\n")

def one_lesion(folder): write_lesions(folder, ["same"]*12 + [""]*112)

TWO_CLASSES = "112 of the 124 rows of .* do not hold one 1 and otherwise 0; the first is in line 1"
NO_LESION_ID = (r"must have the columns image, lesion_id; it has image, lesion: remove or rename the file to hold "
                "out image by image")
# name -> what is done to the folder, what is said
WRONG = {
    "no csv": (no_table, "holds no ISIC 2019 files: expected ISIC_2019_Training_GroundTruth.csv"),
    "no folder": (no_pictures, "holds no folder ISIC_2019_Training_Input with .jpg files, there or below"),
    "only the zip": (only_the_zip, r"there or below: unpack .*ISIC_2019_Training_Input.zip"),
    "empty folder": (empty_folder, "holds no folder ISIC_2019_Training_Input with .jpg files"),
    "columns": (changed(lambda table: table.rename(columns=dict(AK="AKIEC"))),
                "must have the columns image, MEL, .*; it has image, MEL, NV, BCC, AKIEC"),
    "two classes": (column(MEL=1.), TWO_CLASSES),
    "no class": (column(MEL=0.), "12 of the 124 rows of .* do not hold"),
    "not a number": (column(UNK="no"), "124 of the 124 rows of .* do not hold"),
    "half": (column(UNK=.5), "124 of the 124 rows of .* do not hold"),
    "negative": (column(UNK=-1.), "124 of the 124 rows of .* do not hold"),
    "twice": (changed(lambda table: pd.concat([table, table[:3]])),
              "name an image that was there before; the first is in line "),
    "no rows": (changed(lambda table: table[:0]), "has no rows"),
    "empty": (written(b""), "cannot be read as csv"),
    "binary": (written(bytes(range(128, 256))*9), "cannot be read as csv"),
    "no file": (changed(other_names),
                "2 of the 124 images in .* have no file in .*; the first is ISIC_0000001x.jpg"),
    "no lesion_id": (no_lesion_id, NO_LESION_ID),
    "one lesion": (one_lesion, "class 'MEL' has 1 lesion or image; two or more are needed"),
}

@pytest.mark.parametrize("case", WRONG)
def test_wrong_files_are_refused(folder, case):
    spoil, said = WRONG[case]
    spoil(folder)
    with refused(said): load(folder)

WRONG_OPTIONS = [
    (dict(image_size=4), "data option image_size must be a whole number of at least 8; got 4"),
    (dict(sample="random"), "unknown data option sample 'random'"),
    (dict(sample_seed=-1), "sample_seed must be a whole number of at least 0"),
    (dict(sample_seed=.5), "a whole number"),
    ({}, "needs data_dir"),
]

def test_wrong_options_are_refused():
    for options, said in WRONG_OPTIONS:
        with refused(said): load_dataset("isic2019", **options)
    check_data_options("digits", dict(sample="drawn", sample_seed=3))   # these are options of every data set

def test_a_picture_that_cannot_be_read_is_named(folder, original):
    empty_folder(folder)
    for path in (original/INPUT).iterdir(): (folder/INPUT/path.name).write_bytes(path.read_bytes()[:300])
    for workers in (0, 1):
        with pytest.raises(OSError, match=r"^image .*ISIC_0000001.jpg cannot be read \(it is cut off\)$"):
            next(FolderImages([folder/INPUT/"ISIC_0000001.jpg"], 16, workers).batches([torch.arange(1)]))

# ---- what is held out

def test_no_lesion_on_both_sides(folder):
    rng = np.random.default_rng(0)
    ids = [f"BCN_{i:04}" if i % 7 else "" for i in rng.integers(0, 60, 124)]   # about two pictures each, of any class
    write_lesions(folder, ids)
    lesion_of = dict(zip(pd.read_csv(folder/TRUTH).image, ids))
    data = load(folder)
    def lesions_in(paths): return {lesion_of[Path(path).stem] for path in paths} - {""}
    train, test = lesions_in(data.files), lesions_in(data.test.paths)
    assert train and test and not train & test
    assert len(data.train) + len(data.test) == 124
    assert set(data.test_labels) == set(range(8)) == set(data.labels)
    assert 15 < len(data.test) < 50

def test_pictures_without_a_row_are_lesions_of_their_own(folder):
    rng = np.random.default_rng(0)
    write_lesions(folder, [f"BCN_{i:04}" if i % 7 else "" for i in rng.integers(0, 60, 124)])
    (folder/META).write_text("\n".join((folder/META).read_text().splitlines()[:40]))
    assert len(load(folder).test) > 15

# ---- what is drawn

def test_samples(folder):
    "The same ones for the same seed, stratified (the default) or drawn; the rest is undrawn"
    whole = load(folder)
    def sample(**options): return load(folder, train_size=40, test_size=10, **options)
    usual, named, seeded = sample(), sample(sample="stratified"), sample(sample_seed=1)
    drawn, again, drawn_seeded = sample(sample="drawn"), sample(sample="drawn"), sample(sample="drawn", sample_seed=1)
    assert usual.files == named.files != seeded.files
    assert drawn.files == again.files != drawn_seeded.files
    assert usual.files != drawn.files
    for data in (usual, seeded, drawn, drawn_seeded): assert (len(data.train), len(data.test)) == (40, 10)
    label_of = dict(zip(whole.files, whole.labels))
    for data in (usual, drawn):
        assert sorted(data.files + data.undrawn) == sorted(whole.files)
        assert [label_of[file] for file in data.files] == data.labels.tolist()
    shares, whole_shares = np.bincount(usual.labels, minlength=9)/40, np.bincount(whole.labels, minlength=9)/102
    assert abs(shares - whole_shares).max() < .03

def test_a_sample_has_every_class_that_has_pictures(folder):
    assert len(load(folder, train_size=8).train) == 8
    with refused("train_size 7 is outside 8..102"): load(folder, train_size=7)

# ---- who is the probe

@pytest.mark.parametrize("size", [5, 8, 21])
def test_the_probe_is_balanced_over_classes_that_have_pictures(folder, size):
    data = load(folder)
    noise = make_noise(data.labels, 9, "symmetric", .4, seed=0)
    counts = np.bincount(split(data, noise, size).probe.labels, minlength=9)
    assert counts.sum() == size
    assert counts[8] == 0
    assert counts[:8].max() - counts[:8].min() <= 1
    with refused(r"probe_size 90 needs 1\d images of each class"): split(data, noise, 90)

def test_a_probe_by_list(folder, tmp_path):
    "Paths, names with or without an ending, or a table with a row an image"
    data, path = load(folder), tmp_path/"probe.txt"
    stems = [Path(file).stem for file in data.files]
    wanted = (9, 3, 50)
    lists = [
        [data.files[i] for i in wanted],
        [stems[i] for i in wanted],
        [f"{stems[i]}.jpg" for i in wanted],
        ["image,MEL", *(f"{stems[i]},1.0" for i in wanted), ""],
    ]
    for lines in lists:
        path.write_text("\r\n".join(lines), encoding="utf-8-sig")
        assert read_probe(path, data).tolist() == [9, 3, 50]
    noise = make_noise(data.labels, 9, "symmetric", .4, seed=0)
    parts = split(data, noise, val_share=.2, probe=read_probe(path, data))
    assert parts.probe.index.tolist() == [3, 9, 50]
    assert parts.probe.labels.tolist() == data.labels[[3, 9, 50]].tolist()
    assert len(parts.probe) == 3
    assert sorted([*parts.index, *parts.valid.index, *parts.probe.index]) == list(range(102))

def test_a_probe_of_pictures_that_are_not_trained_on(folder, tmp_path):
    data, path = load(folder, train_size=30), tmp_path/"probe.txt"
    path.write_text("\n".join(Path(file).stem for file in (*data.undrawn[:2], data.test.paths[0], data.files[0])))
    said = (r"3 of the 4 images in probe file .* are not among the 30 training images "
            r"\(2 not drawn \(train_size, imbalance\), 1 held out for the test\)")
    with refused(said): read_probe(path, data)
