"""MLC, IEG and FSR: odd settings, what the record says, what is refused, published settings."""
import numpy as np
import pytest

from conftest import SMALL
from noisykit.errors import Refused
from noisykit.resolve import resolve
from noisykit.run import run_method
from refusals import refused
from shared import checkpoint

QUEUE = dict(queue=60, queue_batch=30)

def train(folder, **settings):
    usual = SMALL | dict(lr=0.02, data_options=dict(train_size=600))
    return run_method(quiet=True, run_dir=str(folder), **usual | settings)

def test_fsr_knows_no_clean_sample(tmp_path):
    "Its queue is what its scores say, class by class, and its first is at random"
    run = train(tmp_path/"run", method="fsr", probe_size=0, epochs=3, options=QUEUE)
    kept = checkpoint(run.folder)["parts"][0]
    score, queue, given = kept["score"].numpy(), kept["queue"].numpy(), run.labels.given.to_numpy()
    assert np.allclose(score, run.samples("score", -1))
    assert np.bincount(given[queue]).tolist() == [6]*10
    for label in range(10):
        queued = queue[given[queue] == label]
        assert score[queued].max() == np.sort(score[given == label])[5]
    assert run.metrics.queue_purity.iloc[-1] == pytest.approx((~run.labels.flipped[queue]).mean())
    assert run.config["meta_level"] == "last"
    assert run.presets["meta_level"].startswith("FSR")

METHODS = [
    dict(method="mlc"),
    dict(method="ieg"),
    dict(method="fsr", options=QUEUE | dict(after=0)),
]
OTHER_SETTINGS = [
    dict(optimizer="adam", lr=1e-3),
    dict(batch_norm="frozen"),
    dict(noise="none", noise_rate=None),
]

@pytest.mark.parametrize("method", METHODS, ids=lambda settings: settings["method"])
@pytest.mark.parametrize("settings", OTHER_SETTINGS, ids=str)
def test_other_settings(tmp_path, method, settings):
    run = train(tmp_path/"run", **method | settings | dict(epochs=1))
    assert np.isfinite(run.samples("loss")).all()
    assert np.isfinite(run.metrics.test_loss).all()
    if run.has("weight"): assert run.samples("weight").mean() == pytest.approx(1, abs=0.1)

@pytest.mark.parametrize("method", ["mlc+mo+lc", "ieg+mo+lc", "fsr+mo+lc"])
def test_with_label_correction(tmp_path, method):
    "Labels become distributions in the second epoch"
    queue = QUEUE if "fsr" in method else {}
    run = train(tmp_path/"run", method=method, options=dict(lc_after=1) | queue)
    assert np.isfinite(run.samples("loss")).all()
    assert run.has("target_prob")

def test_supervised_is_ce(tmp_path):
    supervised, ce = train(tmp_path/"supervised", method="supervised"), train(tmp_path/"ce", method="ce")
    assert np.array_equal(supervised.samples("loss"), ce.samples("loss"))

def test_a_restart_follows_the_steps(tmp_path):
    "`lr_now` is the rate of an epoch's last step: the ends of the cycles of 1 and 2 epochs, and one between"
    run = train(tmp_path/"run", method="ce", epochs=4, schedule=dict(first=1, longer=2, lower=0.5))
    end, between, last = run.metrics.lr_now.iloc[[0, 1, 2]]
    assert end < 0.02*0.05
    assert last < 0.01*0.05 < between

REFUSED = [
    (dict(method="mlc", probe_size=1), "it sees 1: probe_size and probe_batch must be at least 2"),
    (dict(method="mlc", probe_batch=1), "it sees 1: probe_size and probe_batch must be at least 2"),
    (dict(method="ce", meta_level="last"), "does not look ahead"),
    (dict(method="ce", optimizer="adam", unmoved_slope="literal"), "does not look ahead"),
    (dict(method="l2r", unmoved_slope="literal"), "unmoved_slope is Adam's; optimizer is 'sgd'"),
    (dict(method="l2r", unmoved_slope="none"), "unknown unmoved_slope 'none'; known: zero, literal"),
    (dict(method="ce", study="fsr_tail", dataset="cifar10", data_options=None), "is for long tails"),
    (dict(method="mlc", options=dict(meta_steps=0)), "meta_steps is 0; a whole number of at least 1"),
    (dict(method="ieg", probe_size=0), "needs a probe"),
    (dict(method="ieg", options=dict(strong="auto")), "unknown ieg option strong"),
    (dict(method="fsr", options=dict(queue_batch=9)), "at least the number of classes, 10; got 2000 and 9"),
    (dict(method="fsr", options=dict(after=2)), "no sample would be weighed"),
    (dict(method="l2r", meta_level="first"), "unknown meta_level 'first'; known: all, last"),
    (dict(method="ce", schedule=dict(first=1, longer=0.5, lower=1)), "longer: a factor of at least 1"),
]

@pytest.mark.parametrize("settings, said", REFUSED)
def test_refusals(tmp_path, settings, said):
    with refused(text=said, kinds=Refused): train(tmp_path/"run", **settings)
    assert not (tmp_path/"run").exists()

PUBLISHED = [
    (dict(method="mlc", dataset="cifar10"),
     dict(model="resnet32", epochs=120, probe_size=1000, noise="uniform")),
    (dict(method="ieg+mo", dataset="cifar100"),
     dict(model="wrn-28-10", probe_size=1000, schedule=dict(first=1, longer=1.5, lower=0.9))),
    (dict(method="fsr+mo", dataset="cifar10"),
     dict(epochs=127, probe_size=0, meta_level="last")),
    (dict(method="fsr", study="fsr_tail", dataset="cifar100", data_options=dict(imbalance=100.0)),
     dict(model="resnet32", noise="none", batch_size=128)),
    (dict(method="supervised", study="ieg", dataset="cifar10"),
     dict(model="wrn-28-10", epochs=387)),
]

@pytest.mark.parametrize("settings, expected", PUBLISHED, ids=lambda values: values.get("method", ""))
def test_published_settings(settings, expected):
    config, presets = resolve(**settings, device="cpu")
    assert {name: getattr(config, name) for name in expected} == expected
    assert set(expected) <= set(presets)
    if config.study == "fsr_tail":
        assert config.options["weighting"] == "shift"
        assert config.options["after"] == 160
        assert config.options["queue"] == 3000
