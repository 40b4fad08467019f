"""Detectors against hand-computed numbers and against the packages that publish them, on constructed records."""
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from aum import AUMCalculator
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from torch import nn

from constructed import constructed
from noisykit.data.noise import make_noise
from noisykit.detection.detectors import common_labels, detect, detect_all, open_runs, suggest
from noisykit.detection.measures import measure
from noisykit.errors import sentence
from noisykit.record import EpochRecord

def by_index(run, name, **options): return detect(run, name, **options).sort_values("index").score.to_numpy()

@pytest.fixture(scope="module")
def noisy_digits():
    digits = load_digits()
    return torch.tensor(digits.data/16, dtype=torch.float32), make_noise(digits.target, 10, "symmetric", .3)

# ---- margins, against the package aum

def test_aum_is_that_of_the_aum_package(tmp_path, noisy_digits):
    x, noise = noisy_digits
    given, package = torch.from_numpy(noise.given), AUMCalculator(str(tmp_path), compressed=True)
    epochs = train(x, given, package)
    run = constructed(tmp_path/"run", noise.given, noise.true, epochs)
    theirs = np.array([package.sums[i]/package.counts[i] for i in range(len(x))])
    assert np.abs(-by_index(run, "aum") - theirs).max() < 1e-12   # both add up the same float32 margins in float64
    assert measure(detect(run, "aum"))["roc_auc"] > .9
    package.finalize()
    from_highest = pd.read_csv(tmp_path/"aum_values.csv").sample_id[::-1].tolist()   # the file begins with the highest
    assert from_highest[:50] == detect(run, "aum")["index"].tolist()[:50]

def train(x, given, package):
    "Eight epochs of a small network that both are told about; the fields of each epoch"
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 100), nn.ReLU(), nn.Linear(100, 10))
    optimizer, epochs = torch.optim.SGD(net.parameters(), .2, momentum=.9), []
    for _ in range(8):
        record = EpochRecord(given)
        for rows in torch.randperm(len(x)).split(64):
            logits = net(x[rows])
            nn.functional.cross_entropy(logits, given[rows]).backward()
            optimizer.step()
            optimizer.zero_grad()
            record.add(rows, logits=logits)
            package.update(logits.detach(), given[rows], rows.tolist())
        epochs.append(record.values())
    return epochs

# ---- by hand

# epoch by epoch, four samples
PREDICTION = np.array([[0, 1, 1, 0], [1, 1, 1, 1], [0, 0, 1, 1], [1, 1, 1, 0]], np.int16)
PROBABILITY = np.array([[.9, .2, .5, .1], [.4, .2, .5, .8], [.9, .6, .5, .7], [.2, .2, .5, .3]], np.float32)

@pytest.fixture
def four_samples(tmp_path):
    epochs = [dict(prediction=said, given_prob=p, loss=-np.log(p), margin=10*p - 5)
              for said, p in zip(PREDICTION, PROBABILITY)]
    return constructed(tmp_path/"run", [0, 0, 1, 1], [0, 1, 1, 0], epochs, classes=2)

def test_forgetting(four_samples, tmp_path):
    assert by_index(four_samples, "forgetting").tolist() == [2, 1, 0, 1]   # the second was learnt and forgotten once
    epochs = [dict(prediction=np.array(said)) for said in ([0, 0], [0, 0], [1, 0])]
    never_learnt = constructed(tmp_path/"never", [0, 1], [0, 1], epochs, classes=2)
    assert by_index(never_learnt, "forgetting").tolist() == [1, 3]

def test_confidence_and_variability(four_samples):
    assert np.allclose(by_index(four_samples, "confidence"), [1 - .6, 1 - .3, .5, 1 - .475])
    expected = [
        np.sqrt((.3**2 + .2**2 + .3**2 + .4**2)/4),
        np.sqrt((3*.1**2 + .3**2)/4),
        0,
        np.sqrt((.375**2 + .325**2 + .225**2 + .175**2)/4),
    ]
    assert np.allclose(by_index(four_samples, "variability"), expected, atol=1e-7)

def test_loss_margin_and_truth(four_samples):
    assert np.allclose(by_index(four_samples, "loss"), -np.log([.2, .2, .5, .3]), atol=1e-6)
    assert np.allclose(by_index(four_samples, "aum"), 5 - 10*PROBABILITY.mean(0), atol=1e-6)
    assert by_index(four_samples, "truth").tolist() == [0, 1, 0, 1]
    assert set(detect(four_samples, "truth")["index"][:2]) == {1, 3}

def test_weights_of_the_epochs_that_have_some(tmp_path):
    weights = [np.full(2, np.nan, np.float32), np.array([1., 0.]), np.array([.5, .25])]
    run = constructed(tmp_path/"run", [0, 1], [0, 0], [dict(weight=weight) for weight in weights], classes=2)
    assert by_index(run, "weight").tolist() == [-.75, -.125]

# ---- suggested labels

def test_a_suggestion_is_another_prediction(four_samples):
    suggested = detect(four_samples, "aum").sort_values("index").suggested
    assert suggested.tolist() == [1, 1, -1, 0]   # never predicted otherwise: no suggestion

def test_suggestions_from_probabilities(tmp_path):
    "The class with the largest sum; of the first sample both sums are .6, and the first class counts"
    given = [0, 1, 2]
    first = np.array([[.6, .3, .1], [.1, .8, .1], [.4, .2, .4]], np.float16)
    second = np.array([[.2, .3, .5], [.5, .4, .1], [.4, .3, .3]], np.float16)
    epochs = [dict(prediction=[0, 1, 2], probs=first), dict(prediction=[1, 1, 2], probs=second)]
    assert suggest([constructed(tmp_path/"full", given, epochs=epochs, classes=3)]).tolist() == [1, 0, 0]
    without = [dict(prediction=epoch["prediction"]) for epoch in epochs]
    assert suggest([constructed(tmp_path/"none", given, epochs=without, classes=3)]).tolist() == [1, -1, -1]

def test_suggestions_from_the_largest_probabilities(tmp_path):
    first = dict(prediction=[0, 1, 2], probs=np.array([[.6, .3], [.8, .2], [.5, .4]], np.float16),
                 classes=np.array([[0, 2], [1, 0], [1, 2]], np.int16))
    second = dict(prediction=[0, 1, 2], probs=np.array([[.7, .2], [.6, .3], [.9, .05]], np.float16),
                  classes=np.array([[0, 1], [1, 2], [2, 0]], np.int16))
    run = constructed(tmp_path/"top", [0, 1, 2], epochs=[first, second], classes=3)
    assert suggest([run]).tolist() == [2, 2, 1]

# ---- AUM's threshold samples

@pytest.fixture
def threshold_runs(tmp_path):
    """Two runs of 1,000 samples, and the margins and threshold samples of each.

    In each run 200 samples are threshold samples. A sample is bad below all but 1 % of them: with two of them or more
    above it. It is called where each run for which it is no threshold sample finds it bad.
    """
    given, rng = np.arange(1000) % 5, np.random.default_rng(0)
    margins = [rng.normal(3, 1, 1000), rng.normal(3, 1, 1000)]
    tags = [np.arange(0, 200), np.arange(200, 400)]
    for margin, tag in zip(margins, tags): margin[tag] = np.linspace(-2, 1, 200)   # the 3rd largest is 0.9698...
    # bad in both; bad in the first only; above all but 2 in the first
    margins[0][[500, 501, 502]], margins[1][[500, 501, 502]] = [-3, -3, .975], [-3, 3, -3]
    # threshold samples of the first run: one that the second calls bad, one that it does not
    margins[0][[0, 1]], margins[1][[0, 1]] = [-5, -5], [-3, 5]
    runs = []
    for number, (margin, tag) in enumerate(zip(margins, tags)):
        labels = given.copy()
        labels[tag] = 5
        epochs = [dict(margin=margin - 1, prediction=given), dict(margin=margin + 1, prediction=given)]
        runs.append(constructed(tmp_path/f"{number}", labels, given, epochs, classes=5, threshold=number))
    return runs, margins, tags

def test_threshold_samples(threshold_runs):
    runs, margins, tags = threshold_runs
    table = detect(runs, "aum").set_index("index").sort_index()
    assert len(table) == 1000
    assert (table.given == np.arange(1000) % 5).all()
    assert not table.flipped.any()   # the extra class is nobody's given label
    def bad(number, i): return (margins[number][tags[number]] > margins[number][i]).mean() > .01
    def called(i): return all(bad(number, i) for number in (0, 1) if i not in tags[number])
    expected = [called(i) for i in range(1000)]
    assert table.called.tolist() == expected
    assert sum(expected) >= 2
    assert table.called[[500, 501, 502, 0, 1]].tolist() == [True, False, False, True, False]
    assert np.allclose(table.score[[500, 0, 1]], [3, 3, -5])   # means over the runs where it is no threshold sample

def test_threshold_samples_of_one_run(threshold_runs):
    alone = detect(threshold_runs[0][0], "aum")
    assert len(alone) == 800
    assert alone.set_index("index").called[[500, 501, 502]].tolist() == [True, True, False]

def test_nothing_is_called_without_threshold_samples(tmp_path):
    given = np.arange(1000) % 5
    plain = constructed(tmp_path/"plain", given, given, [dict(margin=np.zeros(1000))], classes=5)
    assert "called" not in detect(plain, "aum")

# ---- out-of-fold probabilities, against the package cleanlab

@pytest.fixture(scope="module")
def folds(tmp_path_factory, noisy_digits):
    "(run folders that hold out a half each, probabilities by scikit-learn's logistic regression, noise)"
    x, noise = noisy_digits
    model = LogisticRegression(max_iter=200)
    probs = cross_val_predict(model, x.numpy(), noise.given, cv=2, method="predict_proba")
    folder, runs = tmp_path_factory.mktemp("folds"), []
    for fold in (0, 1):
        held = np.arange(len(x)) % 2 == fold
        trained, split = [dict(prediction=noise.given[~held])], np.where(held, "valid", "train")
        runs.append(constructed(folder/f"{fold}", noise.given, noise.true, trained, split,
                                probs=probs[held].astype(np.float16), label=noise.given[held]))
    return runs, probs, noise

def test_self_confidence(folds):
    import cleanlab
    runs, probs, noise = folds
    probs = probs.astype(np.float16).astype(float)
    table = detect(runs, "self_confidence").set_index("index").sort_index()
    assert np.allclose(1 - table.score, cleanlab.rank.get_self_confidence_for_each_label(noise.given, probs))
    others = probs.copy()
    others[np.arange(len(probs)), noise.given] = -1
    assert (table.suggested == others.argmax(1)).all()
    assert measure(table)["roc_auc"] > .9

def test_confident_learning(folds):
    import cleanlab
    runs, probs, noise = folds
    probs = probs.astype(np.float16).astype(float)
    probs /= probs.sum(1, keepdims=True)
    table = detect(runs, "confident").set_index("index").sort_index()
    assert (table.called == cleanlab.filter.find_label_issues(noise.given, probs, n_jobs=1)).all()
    quality = cleanlab.rank.get_label_quality_scores(noise.given, probs, method="normalized_margin",
                                                     adjust_pred_probs=True)
    assert np.allclose(1 - table.score, quality)
    measured = measure(table)
    assert measured["precision"] > .8
    assert measured["recall"] > .8
    assert measured["roc_auc"] > .9

def test_what_no_run_held_out_has_no_score(folds):
    runs, probs, _ = folds
    assert sorted(detect(runs[:1], "self_confidence")["index"]) == list(range(0, len(probs), 2))

def test_without_cleanlab(folds, monkeypatch):
    "As if it were not installed"
    for name in [module for module in sys.modules if module.split(".")[0] == "cleanlab"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cleanlab", None)
    assert "noisykit[cleanlab]" in sentence(detect, folds[0], "confident")
    tables, left_out = detect_all(folds[0])
    assert "self_confidence" in tables
    assert "noisykit[cleanlab]" in left_out["confident"]

# ---- several runs, and what is refused

def test_several_runs(tmp_path):
    "Means over the runs that know a sample; the clean label of a probe sample contradicts no given label"
    losses = [dict(loss=[1., 2, 3, 4], prediction=[0]*4)], [dict(loss=[5., 6, 7], prediction=[0]*3)]
    one = constructed(tmp_path/"one", [0, 1, 0, 1], epochs=losses[0], classes=2)
    split = ["train", "train", "train", "probe"]
    two = constructed(tmp_path/"two", [0, 1, 0, 0], [0, 1, 0, 0], losses[1], split, classes=2)
    assert by_index([one, two], "loss").tolist() == [3, 4, 5, 4]
    assert by_index([two, one], "loss").tolist() == [3, 4, 5, 4]
    assert common_labels([two, one]).given.tolist() == [0, 1, 0, 1]
    assert len(detect(two, "loss")) == 3

def test_runs_that_do_not_go_together(tmp_path):
    one = constructed(tmp_path/"one", [0, 1, 0, 1], epochs=[dict(loss=[1.]*4)], classes=2)
    other_labels = constructed(tmp_path/"labels", [0, 0, 0, 1], [0, 1, 0, 1], [dict(loss=[1.]*4)], classes=2)
    fewer = constructed(tmp_path/"fewer", [0, 1, 0], epochs=[dict(loss=[1.]*3)], classes=2)
    for other in (other_labels, fewer):
        assert f"{one.folder} and {other.folder}" in sentence(open_runs, [one, other])

# detector -> the field that it needs
FIELDS = dict(aum="margin", confidence="given_prob", variability="given_prob", weight="weight")

def test_what_a_run_does_not_keep(tmp_path):
    run = constructed(tmp_path/"run", [0, 1], epochs=[dict(loss=[1., 2], prediction=[0, 1])], classes=2)
    said = {name: sentence(detect, run, name) for name in (*FIELDS, "self_confidence", "confident", "truth")}
    for name, field in FIELDS.items(): assert f"keeps no {field!r}" in said[name]
    assert "val_fold" in said["self_confidence"]
    assert said["self_confidence"] == said["confident"]
    assert "no wrong label" in said["truth"]
    assert all("\n" not in words for words in said.values())

def test_wrong_names_and_options(tmp_path):
    run = constructed(tmp_path/"run", [0, 1], epochs=[dict(loss=[1., 2], prediction=[0, 1])], classes=2)
    assert "did you mean 'aum'" in sentence(detect, run, "amu")
    assert "did you mean 'seed'" in sentence(detect, run, "random", sed=1)
    assert "a whole number" in sentence(detect, run, "random", seed=.5)
    assert "unknown option of detector 'loss'" in sentence(detect, run, "loss", seed=1)
    assert "detector in options" in sentence(detect_all, run, ["loss"], dict(random={}))

def test_no_run_or_no_epoch(tmp_path):
    assert "no whole epoch" in sentence(detect, constructed(tmp_path/"begun", [0, 1], classes=2), "loss")
    assert "no run" in sentence(detect, tmp_path, "loss")
    assert "no runs" in sentence(detect, [], "loss")
