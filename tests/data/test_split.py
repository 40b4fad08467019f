"""What is held out for the test, and probes that are refused."""
import numpy as np
import pytest

from noisykit.data.noise import NoisyLabels, make_noise
from noisykit.data.source import hold_out_fifth, load_dataset
from noisykit.data.split import read_probe, split
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
