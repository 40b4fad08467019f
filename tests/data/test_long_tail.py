"""Long tails: those that are cut here, and the TFRecord files given out with class-balanced loss."""
import numpy as np
import pytest
from tensorboard.summary.writer.record_writer import RecordWriter

import layouts
from layouts import DIGITS
from noisykit.data.source import load_dataset, long_tail
from noisykit.data.split import read_probe
from pictures import digits_of, save_digit
from refusals import refused

# ---- files, written by other people's code

@pytest.fixture(scope="module")
def example_class(): return layouts.example()

def images(count):
    "Digits on 3x32x32, in three shades"
    large = np.kron(DIGITS.images[:count], np.ones((4, 4)))
    return (large[:, None]*np.array([15, 8, 1])[:, None, None]).astype(np.uint8)

@pytest.fixture
def folder(tmp_path, example_class):
    for part, rows in (("train", slice(0, 60)), ("eval", slice(60, 90))):
        layouts.write_records(tmp_path/f"{part}.tfrecords", images(90)[rows], DIGITS.target[rows], example_class)
    return tmp_path

@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_class_balanced_loss_files(folder, name):
    data = load_dataset(name, folder)
    assert (data.train.pixels.numpy() == images(60)).all()
    assert (data.labels == DIGITS.target[:60]).all()
    assert (data.test.pixels.numpy() == images(90)[60:]).all()
    assert (data.test_labels == DIGITS.target[60:90]).all()
    assert len(data.classes) == int(name[5:])
    assert data.train.pad == 4
    assert data.train.flip

def test_a_label_above_127_takes_two_bytes(example_class, folder):
    example = example_class()
    example.features.feature["image"].bytes_list.value.append(bytes(3072))
    example.features.feature["label"].int64_list.value.append(300)
    with open(folder/"eval.tfrecords", "ab") as file: RecordWriter(file).write(example.SerializeToString())
    with refused(r"label 0\.\.99; 1 of 31 do not, the first is number 30"): load_dataset("cifar100", folder)

BROKEN = {
    "cut": lambda raw: raw[:-40],
    "text": lambda raw: b"not a record file at all\n",
    "empty": lambda raw: b"",
    "gone": None,
    "bits": lambda raw: raw[:14] + b"\xff"*3 + raw[17:],
}

@pytest.mark.parametrize("broken", BROKEN)
def test_broken_files(folder, broken):
    path, spoil = folder/"eval.tfrecords", BROKEN[broken]
    if spoil: path.write_bytes(spoil(path.read_bytes()))
    else: path.unlink()
    with refused("eval.tfrecords"): load_dataset("cifar10", folder)

# ---- tails that are cut here

def test_undrawn_after_two_cuts(tmp_path):
    "By train_size, then by imbalance: each file is in the training set, in the test set or undrawn"
    for label in range(3):
        for k, number in enumerate(digits_of(label)[:30]):
            save_digit(tmp_path/"own"/str(label)/f"{label}-{k:02}.png", number)
    whole = load_dataset("imagefolder", tmp_path/"own", image_size=8)
    cut = load_dataset("imagefolder", tmp_path/"own", image_size=8, train_size=60, imbalance=4)
    assert np.bincount(cut.labels).tolist() == long_tail(20, 3, 4).tolist() == [20, 10, 5]
    assert sorted(cut.files + cut.undrawn) == sorted(whole.files)
    assert len(cut.test) == len(whole.test)
    (tmp_path/"probe.txt").write_text(cut.undrawn[0])
    with refused(r"not drawn \(train_size, imbalance\)"): read_probe(tmp_path/"probe.txt", cut)

@pytest.mark.parametrize("imbalance", [0, .99, float("inf"), float("nan"), -3, "10", True])
def test_wrong_imbalances_are_refused(imbalance):
    with refused("imbalance must be"): load_dataset("digits", imbalance=imbalance)
