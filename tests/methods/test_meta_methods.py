"""MLC, IEG and FSR: odd settings; what the record says. Whole runs in this process."""
import numpy as np
import pytest
import torch

from conftest import SMALL
from noisykit.errors import Refused
from noisykit.resolve import resolve
from noisykit.run import run_method

QUEUE = dict(queue=60, queue_batch=30)
def train(folder, **kw): return run_method(quiet=True, run_dir=str(folder), **SMALL | dict(lr=0.02, data_options=dict(train_size=600)) | kw)
def state(run): return torch.load(run.folder/"checkpoint.pt", weights_only=True)

def test_fsr_knows_no_clean_sample(tmp_path):
    "Its queue is what its scores say, class by class, and its first is at random"
    run = train(tmp_path/"run", method="fsr", probe_size=0, epochs=3, options=QUEUE)
    kept = state(run)["parts"][0]
    score, rows, given = kept["score"].numpy(), kept["queue"].numpy(), run.labels.given.to_numpy()
    assert np.allclose(score, run.samples("score", -1)) and np.bincount(given[rows]).tolist() == [6]*10
    for c in range(10): assert score[rows[given[rows] == c]].max() == np.sort(score[given == c])[5]
    assert run.metrics.queue_purity.iloc[-1] == pytest.approx((~run.labels.flipped[rows]).mean())
    assert run.config["meta_level"] == "last" and run.presets["meta_level"].startswith("FSR")

@pytest.mark.parametrize("kw", [dict(method="mlc"), dict(method="ieg"), dict(method="fsr", options=QUEUE | dict(after=0))], ids=lambda kw: kw["method"])
@pytest.mark.parametrize("how", [dict(optimizer="adam", lr=1e-3), dict(batch_norm="frozen"), dict(noise="none", noise_rate=None)], ids=str)
def test_other_settings(tmp_path, kw, how):
    run = train(tmp_path/"run", **kw | how | dict(epochs=1))
    assert np.isfinite(run.samples("loss")).all() and np.isfinite(run.metrics.test_loss).all()
    if run.has("weight"): assert run.samples("weight").mean() == pytest.approx(1, abs=0.1)

@pytest.mark.parametrize("method", ["mlc+mo+lc", "ieg+mo+lc", "fsr+mo+lc"])
def test_with_label_correction(tmp_path, method):
    "Labels become distributions in the second epoch"
    run = train(tmp_path/"run", method=method, options=dict(lc_after=1) | (QUEUE if "fsr" in method else {}))
    assert np.isfinite(run.samples("loss")).all() and run.has("target_prob")

def test_supervised_is_ce(tmp_path):
    a, b = train(tmp_path/"a", method="supervised"), train(tmp_path/"b", method="ce")
    assert np.array_equal(a.samples("loss"), b.samples("loss"))

def test_a_restart_follows_the_steps(tmp_path):
    run = train(tmp_path/"run", method="ce", epochs=4, schedule=dict(first=1, longer=2, lower=0.5))
    low, high, last = run.metrics.lr_now.iloc[[0, 1, 2]]   # the rate of an epoch's last step: ends of the cycles of 1 and 2 epochs, and between
    assert low < 0.02*0.05 and last < 0.01*0.05 < high

@pytest.mark.parametrize("settings, said", [
    (dict(method="mlc", probe_size=1), "half of a probe batch has 0"), (dict(method="ce", meta_level="last"), "does not look ahead"), (dict(method="ce", study="fsr_tail", dataset="cifar10", data_options=None), "is for long tails"), (dict(method="mlc", options=dict(meta_steps=0)), "meta_steps is 0; a whole number of at least 1"),
    (dict(method="ieg", probe_size=0), "needs a probe"), (dict(method="ieg", options=dict(strong="auto")), "unknown ieg option strong"),
    (dict(method="fsr", options=dict(queue_batch=9)), "at least the number of classes, 10; got 2000 and 9"), (dict(method="fsr", options=dict(after=2)), "no sample would be weighed"),
    (dict(method="l2r", meta_level="first"), "unknown meta_level 'first'; known: all, last"), (dict(method="ce", schedule=dict(first=1, longer=0.5, lower=1)), "longer: a factor of at least 1")])
def test_refusals(tmp_path, settings, said):
    with pytest.raises(Refused) as e: train(tmp_path/"run", **settings)
    assert said in str(e.value) and "\n" not in str(e.value) and not (tmp_path/"run").exists()

@pytest.mark.parametrize("settings, values", [
    (dict(method="mlc", dataset="cifar10"), dict(model="resnet32", epochs=120, probe_size=1000, noise="uniform")),
    (dict(method="ieg+mo", dataset="cifar100"), dict(model="wrn-28-10", probe_size=1000, schedule=dict(first=1, longer=1.5, lower=0.9))),
    (dict(method="fsr+mo", dataset="cifar10"), dict(epochs=127, probe_size=0, meta_level="last")),
    (dict(method="fsr", study="fsr_tail", dataset="cifar100", data_options=dict(imbalance=100.0)), dict(model="resnet32", noise="none", batch_size=128)),
    (dict(method="supervised", study="ieg", dataset="cifar10"), dict(model="wrn-28-10", epochs=387))], ids=lambda v: v.get("method", ""))
def test_published_settings(settings, values):
    c, presets = resolve(**settings, device="cpu")
    assert all(getattr(c, k) == v and k in presets for k, v in values.items())
    if c.study == "fsr_tail": assert c.options["weighting"] == "shift" and c.options["after"] == 160 and c.options["queue"] == 3000

def test_an_upper_bound_at_any_level(tmp_path):
    "Its clean network does not look ahead, whatever the run itself is told"
    run = train(tmp_path/"run", method="upper_bound", meta_level="last", epochs=1)
    assert run.config["meta_level"] == "last" and run.has("weight")
