"""Detectors on real records: their notebook, their files, runs that were cut off, threshold samples and folds."""
import math

import numpy as np
import pandas as pd
import pytest

from conftest import papermill, tree
from noisykit.detection.detectors import detect, detect_all, write_scores
from noisykit.detection.measures import measure, with_intervals
from noisykit.errors import sentence
from noisykit.record import Run
from noisykit.run import run_method

def by_index(run, name): return detect(run, name).sort_values("index").score.to_numpy()

# ---- a run, and its files

def test_a_run_that_was_cut_off(copy_of_l2r, l2r_run):
    "Killed after it had written the second epoch's samples, in the middle of the row"
    text = (copy_of_l2r/"metrics.csv").read_text()
    (copy_of_l2r/"metrics.csv").write_text(text[:-20])
    for path in copy_of_l2r.glob("samples/final*"): path.unlink()
    whole, run = Run(l2r_run[1]), Run(copy_of_l2r)
    assert len(run.metrics) == 1
    assert len(whole.metrics) == 2
    assert np.allclose(-by_index(run, "aum"), whole.samples("margin", 1))
    assert np.allclose(by_index(run, "loss"), whole.samples("loss", 1))
    assert not np.allclose(by_index(run, "aum"), by_index(whole, "aum"))
    tables, left_out = detect_all(run)
    assert {"aum", "weight", "forgetting"} <= set(tables)
    assert {"confident", "self_confidence"} <= set(left_out)
    (copy_of_l2r/"metrics.csv").write_text(text.splitlines()[0] + "\n")
    assert "no whole epoch" in sentence(detect, Run(copy_of_l2r), "aum")

def test_scores_are_read_back(copy_of_l2r):
    run = Run(copy_of_l2r)
    table = detect(run, "aum")
    assert pd.read_csv(write_scores(run, "aum", table)).equals(table)
    assert table.score.is_monotonic_decreasing
    assert len(table) == len(run.labels)

def test_measures(l2r_run):
    "Chance is within the interval of many seeds; without flipped labels there is a reason instead of a number"
    run = Run(l2r_run[1])
    rows = [dict(detector="random", seed=seed) | measure(detect(run, "random", seed=seed)) for seed in range(30)]
    got = with_intervals(pd.DataFrame(rows), "detector").loc[("random", "roc_auc")]
    assert got.low < .5 < got.high
    assert got.high - got.low < .05
    nothing = measure(detect(run, "aum").assign(flipped=False))
    assert math.isnan(nothing["roc_auc"])
    assert "none of the" in nothing["reason"]

# ---- the notebook

def test_the_notebook(copy_of_l2r, tmp_path):
    "Every detector that can; nothing but scores and a figure is written"
    before = tree(copy_of_l2r)
    done = papermill("run_detector", tmp_path/"out.ipynb", runs=copy_of_l2r, top=5)
    assert done.returncode == 0, done.stderr[-2000:]
    allowed, left_out = detect_all(copy_of_l2r)
    assert {path.stem for path in (copy_of_l2r/"scores").glob("*.csv")} == {*allowed, "measures"}
    assert {"aum", "weight", "loss"} <= set(allowed)
    measured = pd.read_csv(copy_of_l2r/"scores"/"measures.csv", index_col=0)
    for name, table in allowed.items():
        assert pd.read_csv(copy_of_l2r/"scores"/f"{name}.csv").equals(table)
        assert np.isclose(measured.roc_auc[name], measure(table)["roc_auc"])
    text = (tmp_path/"out.ipynb").read_text()
    for name in left_out: assert f"{name} left out" in text
    after = {path: content for path, content in tree(copy_of_l2r).items() if not path.startswith("scores/")}
    after.pop("figures/detectors.png")
    assert after == before

def test_the_notebook_without_known_flips(copy_of_l2r, tmp_path):
    labels = pd.read_csv(copy_of_l2r/"labels.csv")
    labels.assign(true=labels.given, flipped=False).to_csv(copy_of_l2r/"labels.csv", index=False)
    done = papermill("run_detector", tmp_path/"out.ipynb", "detectors: [aum, loss]", runs=copy_of_l2r, top=5)
    assert done.returncode == 0, done.stderr[-2000:]
    assert {path.name for path in (copy_of_l2r/"scores").iterdir()} == {"aum.csv", "loss.csv"}
    assert "rankings only" in (tmp_path/"out.ipynb").read_text()

def test_the_notebook_refuses(copy_of_l2r, tmp_path):
    for yaml, runs, said in (("detectors: [aum, amu]", copy_of_l2r, "did you mean 'aum'"),
                             ("", tmp_path, "no config.yaml")):
        done = papermill("run_detector", tmp_path/"out.ipynb", yaml, runs=runs)
        assert done.returncode
        assert said in done.stderr
    assert not (copy_of_l2r/"scores").exists()

# ---- threshold samples and folds

REAL = dict(dataset="digits", noise="symmetric", noise_rate=.2, probe_size=0, quiet=True, device="cpu")

def test_threshold_samples(tmp_path):
    runs = [run_method(run_dir=tmp_path/f"{number}", threshold=number, epochs=8, **REAL) for number in (0, 1)]
    tagged = [set(run.all_labels["index"][run.all_labels.given == 10]) for run in runs]
    assert len(tagged[0]) == len(tagged[1]) == 143
    assert not tagged[0] & tagged[1]
    table = detect(runs, "aum")
    assert len(table) == 1437
    assert table.given.max() == table.suggested.max() == 9
    assert np.isclose(table.flipped.mean(), .2, atol=.05)
    measured = measure(table)
    assert measured["roc_auc"] > .95, measured
    assert measured["recall"] > .6 and measured["precision"] > .6, measured
    assert len(detect(runs[0], "aum")) == len(detect(runs[0], "truth")) == 1437 - 143

@pytest.fixture(scope="module")
def folds(tmp_path_factory):
    "Three runs that hold out a third each"
    folder = tmp_path_factory.mktemp("folds")
    def train(fold): return run_method(run_dir=folder/f"{fold}", val_share=1/3, val_fold=fold, epochs=5, **REAL)
    return [train(fold) for fold in range(3)]

def test_folds(folds):
    tables, left_out = detect_all(folds)
    assert {"confident", "self_confidence", "aum"} <= set(tables)
    assert "weight" in left_out
    for name in ("confident", "self_confidence", "aum"):
        measured = measure(tables[name])
        assert measured["samples"] == 1437 and measured["roc_auc"] > .95, (name, measured)
    measured = measure(tables["confident"])
    assert measured["recall"] > .7 and measured["precision"] > .7, measured
    flips = tables["aum"][tables["aum"].flipped]
    assert (flips.suggested == flips.true).mean() > .8

def test_a_sample_s_score_comes_from_the_run_that_held_it_out(folds):
    table, last = detect(folds, "self_confidence"), folds[2]
    probs = last.samples("probs", "final_valid").astype(float)
    scores = table.set_index("index").score[last.valid["index"]]
    assert np.allclose(scores, 1 - probs[np.arange(len(probs)), last.valid.given], atol=1e-6)

def test_the_notebook_of_several_runs(folds, tmp_path):
    "Scores are written beside the first run"
    table = detect(folds, "confident")
    measured = measure(table)
    runs = ", ".join(str(run.folder) for run in folds)
    done = papermill("run_detector", tmp_path/"out.ipynb", f"runs: [{runs}]\ndetectors: [confident, aum]", top=5)
    assert done.returncode == 0, done.stderr[-2000:]
    said = (f"confident calls {table.called.sum():,} of 1,437 mislabelled: "
            f"precision {measured['precision']:.1%}, recall {measured['recall']:.1%}")
    assert said in (tmp_path/"out.ipynb").read_text()
    assert pd.read_csv(folds[0].folder/"scores"/"confident.csv").equals(table)
    assert not (folds[1].folder/"scores").exists()
