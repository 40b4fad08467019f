"""What every detector keeps: a score for each sample that its runs know, the same again and in any order of the
samples, higher for flipped ones where flips are easy to see, and a sentence for a wrong option. A new detector is among
the cases without a line here."""
import shutil

import numpy as np
import pytest
import torch

from noisykit.detection.detectors import DETECTORS, detect, known_detectors, open_runs
from noisykit.detection.measures import measure
from noisykit.record import Run
from noisykit.run import run_method
from shared import once, one_thread

# two runs that hold out a half each; weights, probabilities, features and a probe that no run scores
EASY = dict(method="l2r", dataset="digits", data_options=dict(train_size=640, test_size=100), noise="symmetric",
            noise_rate=.3, probe_size=40, val_share=.5, keep_probs=True, keep_features=True, model="cnn", epochs=6,
            batch_size=32, lr=.05, device="cpu")
NAMES = sorted(known_detectors())
every_detector = pytest.mark.parametrize("name", NAMES)

@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    def train(folder):
        with one_thread():
            for fold in (0, 1): run_method(quiet=True, run_dir=str(folder/str(fold)), val_fold=fold, **EASY)
    folder = once(tmp_path_factory, "detectors", train)
    return open_runs([folder/"0", folder/"1"])

@every_detector
def test_a_score_for_every_sample_that_is_known(name, runs):
    labels, score = runs[0].all_labels, DETECTORS[name](runs)
    assert score.shape == (len(labels),) and score.dtype == np.float64
    assert np.array_equal(np.isnan(score), labels.split == "probe")   # no run was trained on the probe
    assert np.isfinite(score[labels.split != "probe"]).all()

@every_detector
def test_its_table(name, runs):
    table, score = detect(runs, name), DETECTORS[name](runs)
    assert table.score.is_monotonic_decreasing and table["index"].is_unique
    assert np.array_equal(table.score, score[table["index"]]) and len(table) == np.isfinite(score).sum()
    known = runs[0].all_labels.set_index("index").loc[table["index"]].reset_index()
    for column in ("true", "flipped"): assert (table[column] == known[column]).all()
    assert table.suggested.between(-1, 9).all() and (table.suggested != table.given).all()
    if "called" in table: assert table.called.dtype == bool and 0 < table.called.sum() < len(table)

# what cannot see flips here: chance, and what wavers, which in a run that learns no flip by heart are the clean samples
BLIND = {"random", "variability"}

@every_detector
def test_easy_flips_are_found(name, runs):
    found = measure(detect(runs, name))["roc_auc"]
    if name in BLIND: assert found < .6
    else: assert found > .8

@every_detector
def test_the_same_again(name, runs):
    "To the bit, whatever random numbers were drawn before"
    first = DETECTORS[name](runs)
    np.random.seed(1)
    torch.manual_seed(1)
    states = np.random.get_state()[1].copy(), torch.get_rng_state()
    again = DETECTORS[name](open_runs([run.folder for run in runs]))
    assert first.tobytes() == again.tobytes()
    assert (np.random.get_state()[1] == states[0]).all() and torch.equal(torch.get_rng_state(), states[1])

@pytest.fixture(scope="module")
def shuffled(runs, tmp_path_factory):
    "(the runs with their samples in another order, that order)"
    order = np.random.default_rng(0).permutation(len(runs[0].all_labels))
    folder = tmp_path_factory.mktemp("shuffled")
    return open_runs([in_order(run, order, folder/run.folder.name) for run in runs]), order

def in_order(run, order, folder):
    "A copy of a run whose k-th sample is the one at place order[k]"
    shutil.copytree(run.folder, folder)
    labels = run.all_labels.iloc[order].reset_index(drop=True)
    labels.assign(index=labels.index).to_csv(folder/"labels.csv", index=False)
    for path in (folder/"samples").glob("*.npz"):
        part = dict(final_valid="valid", final_test=None).get(path.stem, "train")
        if part is None: continue
        place = {sample: k for k, sample in enumerate(run.all_labels["index"][run.all_labels.split == part])}
        rows = [place[sample] for sample in order if sample in place]
        np.savez(path, **{field: array[rows] for field, array in np.load(path).items()})
    return Run(folder)

@pytest.mark.parametrize("name", [name for name in NAMES if name != "random"])   # its numbers belong to the places
def test_the_order_of_the_samples_does_not_matter(name, runs, shuffled):
    others, order = shuffled
    assert np.allclose(DETECTORS[name](others), DETECTORS[name](runs)[order], rtol=1e-6, equal_nan=True)

@every_detector
def test_a_wrong_option_is_refused_in_a_sentence(name, runs):
    sentence = f"unknown option of detector '{name}': 'no_such'"
    with pytest.raises(ValueError, match=sentence) as e: detect(runs, name, no_such=1)
    assert "\n" not in str(e.value)

def test_an_unknown_detector_is_refused(runs):
    with pytest.raises(ValueError, match="unknown detector 'margn'"): detect(runs, "margn")
