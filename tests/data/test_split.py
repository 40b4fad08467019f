"""What is held out for the test, and probes that are refused."""
import numpy as np
import pandas as pd
import pytest

from noisykit.audit.relabel import most_suspicious
from noisykit.data.noise import NoisyLabels, make_noise
from noisykit.data.source import hold_out_fifth, load_dataset
from noisykit.data.split import read_probe, split, without_suspects
from refusals import refused

def test_hold_out_without_groups_is_a_fifth_of_each_class():
    labels = np.random.default_rng(1).integers(0, 5, 300)
    train, test = hold_out_fifth(labels, "abcde", "image")
    assert (np.bincount(labels[test]) == np.bincount(labels)//5).all()
    assert sorted([*train, *test]) == list(range(300))

WRONG_PROBES = [
    (dict(probe=[1, 2], probe_size=2), "exclude each other"),
    (dict(probe=[.5]), "different positions"),
    (dict(probe=[[1]]), "different positions"),
    (dict(probe=[True]), "different positions"),
    (dict(probe=[1437]), r"0\.\.1436"),
    (dict(probe=np.arange(1437)), "nothing is left"),
]

def test_wrong_probes():
    digits = load_dataset("digits")
    noise = make_noise(digits.labels, 10)
    for settings, said in WRONG_PROBES:
        with refused(said, kinds=ValueError): split(digits, noise, **settings)

def test_a_probe_of_foreign_images():
    digits = load_dataset("digits")
    noise = make_noise(digits.labels, 10)
    true = np.where(np.arange(1437) < 5, -1, noise.true)
    foreign = NoisyLabels(noise.given, true, noise.matrix, "openset", .1)
    with refused("2 of the 3 probe images show none of the classes", kinds=ValueError):
        split(digits, foreign, probe=[3, 4, 5])

WRONG_FILES = [
    ("", "it is empty"),
    ("index\n", "names no image"),
    ("-1", "'-1'"),
    ("1.0", "'1.0'"),
    ("3\nvier", "1 of 2 lines"),
    ("5\n5", "'5'"),
    ("05\n5", "more often than once"),
    ("²", "positions 0..1436"),
]

def test_wrong_probe_files(tmp_path):
    digits, path = load_dataset("digits"), tmp_path/"probe.txt"
    with pytest.raises(FileNotFoundError, match="does not exist"): read_probe(path, digits)
    for content, said in WRONG_FILES:
        path.write_text(content, encoding="utf-8")
        with refused(said, kinds=ValueError): read_probe(path, digits)
    path.write_bytes(b"\xff\xfe\x00")
    with refused("cannot be read as text", kinds=ValueError): read_probe(path, digits)

# ---- counts of a share: the nearest whole number, though binary fractions lie below it

@pytest.fixture(scope="module")
def hundred():
    "100 digits to train on, their labels as they are"
    digits = load_dataset("digits", train_size=100)
    return digits, split(digits, make_noise(digits.labels, 10))

def flipped(law, share, **options): return make_noise(np.arange(100) % 10, 10, law, share, **options).flipped.sum()

def foremost(folder, share):
    pd.DataFrame(dict(index=range(100), score=range(100))).to_csv(folder/"scores.csv", index=False)
    return len(most_suspicious(folder/"scores.csv", 100, share))

@pytest.mark.parametrize("share, count", [(.07, 7), (.14, 14), (.28, 28), (.29, 29), (.55, 55), (.56, 56), (.57, 57),
                                          (.58, 58), (.294, 29), (.296, 30)])
def test_a_share_of_a_hundred(tmp_path, hundred, share, count):
    digits, data = hundred
    unknown = make_noise(digits.labels, 10, "openset", share).true
    held_out = split(digits, make_noise(digits.labels, 10), val_share=share).parts["valid"]
    found = dict(dependent=flipped("dependent", share, scores=np.ones((100, 10))), openset=(unknown == -1).sum(),
                 held_out=len(held_out), removed=len(without_suspects(data, np.arange(100), share, 0).removed),
                 relabelled=foremost(tmp_path, share))
    assert found == dict.fromkeys(found, count)
