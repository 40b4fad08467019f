"""Long tails: those cut here, and the TFRecord files given out with class-balanced loss, written by other people's code."""
import numpy as np
import pytest
from tensorboard.summary.writer.record_writer import RecordWriter

import layouts
from layouts import DIGITS
from noisykit.data.source import load_dataset, long_tail
from noisykit.data.split import read_probe


@pytest.fixture(scope="module")
def Example(): return layouts.example()


def pictures(n):
    "Digits on 3x32x32, in three shades"
    x = np.kron(DIGITS.images[:n], np.ones((4, 4)))[:, None]*np.array([15, 8, 1])[:, None, None]
    return x.astype(np.uint8)


@pytest.fixture
def folder(tmp_path, Example):
    for part, take in (("train", slice(0, 60)), ("eval", slice(60, 90))): layouts.write_records(tmp_path/f"{part}.tfrecords", pictures(90)[take], DIGITS.target[take], Example)
    return tmp_path


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_class_balanced_loss_files(folder, name):
    s = load_dataset(name, folder)
    assert (s.train.pixels.numpy() == pictures(60)).all() and (s.labels == DIGITS.target[:60]).all()
    assert (s.test.pixels.numpy() == pictures(90)[60:]).all() and (s.test_labels == DIGITS.target[60:90]).all()
    assert len(s.classes) == int(name[5:]) and s.train.pad == 4 and s.train.flip


def test_a_label_above_127_takes_two_bytes(tmp_path, Example, folder):
    e = Example()
    e.features.feature["image"].bytes_list.value.append(bytes(3072))
    e.features.feature["label"].int64_list.value.append(300)
    with open(folder/"eval.tfrecords", "ab") as file: RecordWriter(file).write(e.SerializeToString())
    with pytest.raises(ValueError, match=r"label 0\.\.99; 1 of 31 do not, the first is number 30"): load_dataset("cifar100", folder)


@pytest.mark.parametrize("broken", ["cut", "text", "empty", "gone", "bits"])
def test_broken_files(folder, broken):
    path = folder/"eval.tfrecords"
    raw = path.read_bytes()
    if broken == "gone": path.unlink()
    else: path.write_bytes({"cut": raw[:-40], "text": b"not a record file at all\n", "empty": b"", "bits": raw[:14] + b"\xff"*3 + raw[17:]}[broken])
    with pytest.raises((ValueError, FileNotFoundError), match="eval.tfrecords") as e: load_dataset("cifar10", folder)
    assert "\n" not in str(e.value)


def test_undrawn_after_two_cuts(tmp_path):
    from PIL import Image
    for c in range(3):
        (tmp_path/"own"/str(c)).mkdir(parents=True)
        for k, i in enumerate(np.flatnonzero(DIGITS.target == c)[:30]):
            Image.fromarray((DIGITS.images[i]*15).astype(np.uint8)).save(tmp_path/"own"/str(c)/f"{c}-{k:02}.png")
    whole = load_dataset("imagefolder", tmp_path/"own", image_size=8)
    s = load_dataset("imagefolder", tmp_path/"own", image_size=8, train_size=60, imbalance=4)
    assert np.bincount(s.labels).tolist() == long_tail(20, 3, 4).tolist() == [20, 10, 5]
    assert sorted(s.files + s.undrawn) == sorted(whole.files) and len(s.test) == len(whole.test)
    (tmp_path/"probe.txt").write_text(s.undrawn[0])
    with pytest.raises(ValueError, match=r"not drawn \(train_size, imbalance\)"): read_probe(tmp_path/"probe.txt", s)


@pytest.mark.parametrize("imbalance", [0, .99, float("inf"), float("nan"), -3, "10", True])
def test_refused(imbalance):
    with pytest.raises(ValueError, match="imbalance must be"): load_dataset("digits", imbalance=imbalance)
