"""Noise laws and files of noise, whatever the labels, the law, the rate and the seed."""
from dataclasses import replace
from pathlib import Path

import numpy as np
from hypothesis import example, strategies as st

from noisykit.data.noise import LAWS, check_labels, load_noise, load_rules, make_noise, save_noise, save_rules
from refusals import unless_refused
from strategies import RATES, SEEDS, fuzz, law_options, new_folder, noise_queries, stochastic

EXACT = "dependent", "openset" # laws that count their samples instead of drawing each

def test_every_law_is_drawn():
    "A new law gets its options in support/strategies.py"
    assert set(law_options(1, 1)) == set(LAWS)

ONE_CLASS = dict(true=np.zeros(1, int), num_classes=1, law="symmetric", rate=1., seed=0)

@fuzz(200, query=noise_queries())
@example(ONE_CLASS) # its matrix was [[0]]
@example(ONE_CLASS | dict(law="dependent", scores=np.ones((1, 1)))) # flipped nothing, whatever the rate
def test_any_law(query):
    "Labels in their range, rows that sum to 1, flips only where the matrix allows them, the same seed the same labels"
    before = query["true"].copy()
    noise = unless_refused(make_noise, **query)
    if noise is None: return
    true, C, law, rate = (query[key] for key in ("true", "num_classes", "law", "rate"))
    assert (true == before).all() and (noise.true[noise.true >= 0] == true[noise.true >= 0]).all()
    assert noise.given.dtype == noise.true.dtype == np.int64 and ((noise.given >= 0) & (noise.given < C)).all()
    assert noise.realised_rate == np.mean(noise.given != noise.true) and -1e-9 <= noise.expected_rate <= 1
    there = np.bincount(true, minlength=C) > 0 if law == "dependent" else np.full(C, True)
    assert np.allclose(noise.matrix[there].sum(1), 1) and (noise.matrix >= 0).all()
    known = noise.true >= 0
    assert (noise.matrix[noise.true, noise.given] > 0)[known].all()
    assert rate or not noise.flipped.any()
    assert law not in EXACT or abs(noise.flipped.sum() - rate*len(true)) <= 1
    again = make_noise(**query)
    assert (again.given == noise.given).all() and (again.true == noise.true).all()

@fuzz(40, counts=st.lists(st.integers(0, 2000), min_size=2, max_size=6).filter(any), rate=RATES, seed=SEEDS,
      law=st.sampled_from(["symmetric", "uniform", "asymmetric", "flip"]))
def test_the_realised_rate_is_near_the_expected_one(counts, rate, seed, law):
    "Within six standard deviations, in all and for each entry of the matrix"
    true = np.repeat(np.arange(len(counts)), counts)
    noise = make_noise(true, len(counts), law, rate, seed)
    spread = np.sqrt(noise.expected_rate*(1 - noise.expected_rate)/len(true))
    assert abs(noise.realised_rate - noise.expected_rate) <= 6*spread + 4/len(true)
    for i in np.flatnonzero(counts):
        spread = np.sqrt(noise.matrix[i]*(1 - noise.matrix[i])/counts[i])
        assert (np.abs(noise.realised_matrix[i] - noise.matrix[i]) <= 6*spread + 4/counts[i]).all()

@fuzz(100, query=noise_queries(), ending=st.sampled_from(["csv", "npy"]),
      removed=st.none() | st.lists(st.booleans(), min_size=30, max_size=30))
def test_a_noise_file_is_read_as_it_was_written(query, ending, removed):
    noise = unless_refused(make_noise, **query)
    if noise is None: return
    if removed: noise = replace(noise, removed=np.resize(removed, len(noise.true)))
    with new_folder() as folder:
        path = Path(folder)/f"noise.{ending}"
        unless_refused(save_noise, noise, path)
        if not path.exists():
            assert removed and ending == "npy"
            return
        read = load_noise(path, query["true"], query["num_classes"])
    assert (read.given == noise.given).all() and (read.true == noise.true).all()
    assert (read.removed is None and removed is None) or (read.removed == noise.removed).all()

@fuzz(60, data=st.data(), C=st.integers(1, 6))
def test_rules_are_read_as_they_were_written(data, C):
    "Rows that are spread evenly; others are refused"
    matrix = data.draw(stochastic(C))
    names = data.draw(st.none() | st.lists(st.text(min_size=1, max_size=6), min_size=C, max_size=C, unique=True))
    with new_folder() as folder:
        path = Path(folder)/"rules.csv"
        unless_refused(save_rules, matrix, path, names)
        if not path.exists(): return
        read = unless_refused(load_rules, path, C, names)
    assert all(map(str.isdigit, names)) if read is None else np.allclose(read, matrix)

ANYTHING = st.one_of(st.integers(-3, 9), st.floats(), st.text(max_size=4), st.none(), st.booleans(),
                     st.sampled_from(["1", " 1", "1.0", "nan", "٣", 2**70, -2**70, 1e300]))

@fuzz(100, labels=st.lists(ANYTHING, max_size=5) | st.lists(st.lists(ANYTHING, max_size=2), max_size=3) | ANYTHING,
      C=st.integers(1, 6))
@example([[], [0]], 1) # was numpy's error about a shape
def test_any_labels(labels, C):
    "Whole numbers in the range, or one sentence"
    checked = unless_refused(check_labels, labels, C)
    if checked is None: return
    assert checked.dtype == np.int64 and ((checked >= 0) & (checked < C)).all()
    assert all(float(label) == number for label, number in zip(labels, checked))
