"""Mixed labels and the proposal: what they keep of each sample, their targets, odd settings and what is refused."""
import numpy as np
import pytest
import torch

from conftest import SMALL
from noisykit.errors import Refused
from noisykit.methods.label_mixing import mix
from noisykit.resolve import resolve
from noisykit.run import run_method
from noisykit.train.trainer import Trainer
from refusals import refused
from shared import checkpoint

def train(folder, **settings): return run_method(quiet=True, run_dir=str(folder), **SMALL | dict(lr=0.02) | settings)

def kept(run): return {name: values.numpy() for name, values in checkpoint(run.folder)["parts"][0].items()}

# ---- what is kept

def test_the_record_holds_what_was_chosen(tmp_path):
    run = train(tmp_path/"run", method="proposal", options=dict(scale="std"), epochs=3)
    beta, weight = run.samples("beta"), run.samples("weight")
    assert beta.shape == weight.shape == (3, len(run.labels))
    assert 0 < beta.min() and beta.max() < 1
    assert weight.mean(1) == pytest.approx(np.ones(3), abs=0.01)   # of each batch
    last = run.metrics.iloc[-1]
    for name, values in (("beta", beta[-1]), ("weight", weight[-1])):
        assert last[f"{name}_flipped"] == pytest.approx(values[run.labels.flipped].mean(), rel=1e-5)
    assert set(kept(run)) == {"beta", "weight"}
    assert np.array_equal(kept(run)["beta"], beta[-1])   # every sample came by once

def test_hard_targets(tmp_path):
    "The given label has its share, unless it is what the network says"
    run = train(tmp_path/"hard", method="mixup_hard")
    beta, given, said = run.samples("beta", -1), run.labels.given.to_numpy(), run.samples("prediction", -1)
    expected = np.where(given == said, 1, np.maximum(beta, 1 - beta))
    assert np.allclose(run.samples("target_prob", -1), expected, atol=1e-6)

def test_soft_targets(tmp_path):
    "What is mixed in is the last target"
    run = train(tmp_path/"soft", method="mixup_soft", keep_probs=True)
    target = np.eye(10)[run.labels.given]
    for epoch in (1, 2):
        beta = run.samples("beta", epoch)[:, None]
        target = beta*target + (1 - beta)*run.samples("probs", epoch).astype(float)
    assert np.allclose(kept(run)["label"], target, atol=2e-3)   # probs are half floats

def test_class_numbers_are_mixed_as_written():
    "Rounding takes no class down"
    label = torch.eye(9)
    for beta in (0.501, 0.52, 0.999): assert mix(torch.full((9,), beta), label, label, True).equal(label)
    assert mix(torch.tensor([0.52]), torch.eye(9)[[0]], torch.eye(9)[[7]], True).argmax() == 3

def test_balanced_accuracy_and_the_test_set(tmp_path):
    run = train(tmp_path/"run", method="ce")
    label, said = run.samples("label", "final_test"), run.samples("prediction", "final_test")
    last = run.metrics.iloc[-1]
    assert (label == said).mean() == pytest.approx(last.test_accuracy)
    assert len(label) == 360
    recalls = [(said[label == c] == c).mean() for c in range(10)]
    assert np.mean(recalls) == pytest.approx(last.test_balanced_accuracy)

# ---- other settings

BOTH_ENGINES = [
    dict(method="mixup_hard", options=dict(gradient="mixture", scale="std")),
    dict(method="proposal", options=dict(scale="std")),
]

@pytest.mark.parametrize("settings", BOTH_ENGINES, ids=lambda settings: settings["method"])
def test_both_engines_learn_the_same(tmp_path, settings):
    jvp, higher = (train(tmp_path/engine, engine=engine, precision="float64", epochs=1, **settings)
                   for engine in ("jvp", "higher"))
    assert np.allclose(jvp.samples("beta", 1), higher.samples("beta", 1), atol=1e-6)
    assert np.allclose(jvp.samples("loss", 1), higher.samples("loss", 1), atol=1e-5)

OTHER_SETTINGS = [
    dict(optimizer="adam", lr=1e-3),
    dict(options=dict(weighting="clamp")),
]

@pytest.mark.parametrize("settings", OTHER_SETTINGS, ids=str)
def test_other_settings(tmp_path, settings):
    run = train(tmp_path/"run", **dict(method="proposal") | settings)
    beta, weight = run.samples("beta"), run.samples("weight")
    assert np.isfinite(run.samples("loss")).all()
    assert 0 < beta.min() < beta.max() < 1
    assert weight.mean() == pytest.approx(1, abs=0.05)
    assert (weight.min() == 0) == ("options" in settings)   # where weights are clamped

def test_noise_goes_on_top_of_a_clean_network_s_labels(tmp_path):
    "SLN's noise stops where labels follow the network's own predictions (lc), not where they come from another one"
    clean = train(tmp_path/"clean", method="ce", noise="none", noise_rate=None)
    def losses(sigma):
        options = dict(sigma=sigma, pseudo_run=str(clean.folder))
        return train(tmp_path/str(sigma), method="sln+pseudo", epochs=1, options=options).samples("loss", 1)
    assert not np.allclose(losses(0.0), losses(2.0), atol=1e-3)

def test_a_probe_batch_is_what_a_step_sees(tmp_path, monkeypatch):
    sizes, own = set(), Trainer.probe
    def probe(self):
        batch = own(self)
        sizes.add(len(batch.x))
        return batch
    monkeypatch.setattr(Trainer, "probe", probe)
    train(tmp_path/"run", method="l2r", probe_batch=5, epochs=1)
    assert sizes == {5}

# ---- what is refused

REFUSED = [
    (dict(method="upper_bound", probe_size=0), "needs a probe"),
    (dict(method="mixup_soft", options=dict(as_written=True)), "hard labels"),
    (dict(method="proposal", options=dict(labels="soft", as_written=True)), "hard labels"),
    (dict(method="mixup_hard", options=dict(scale=-1)), "above 0, or 'std'"),
    (dict(method="pseudo"), "'pseudo' is an add-on"),
    (dict(method="upper_bound+pseudo"), "an add-on twice"),
    (dict(method="probe_only+pseudo"), "nothing for pseudo to correct"),
    (dict(method="upper_bound+lc"), "more than one add-on that changes labels"),
    (dict(method="mixup_hard", options=dict(as_written=True, gradient="mixture")), "gradient must be 'given'"),
    (dict(probe_batch=0), "probe_batch must be a number of at least 1"),
    (dict(probe_batch=3, nproc=4), "a probe batch has 3"),
]

@pytest.mark.parametrize("settings, said", REFUSED, ids=str)
def test_refusals(tmp_path, settings, said):
    with refused(said, kinds=(ValueError, Refused)):
        run_method(run_dir=str(tmp_path/"run"), quiet=True, **SMALL | dict(method="l2r") | settings)
    assert not (tmp_path/"run").exists()

# ---- published settings

def test_the_study_s_settings(tmp_path):
    config, _ = resolve(dataset="isic2019", data_dir=str(tmp_path), method="upper_bound", noise="symmetric",
                        device="cpu")
    assert (config.model, config.weights, config.batch_size) == ("resnet50", "IMAGENET1K_V1", 128)
    assert (config.grad_clip, config.options["weighting"]) == (0.25, "sigmoid")
    assert config.data_options == dict(train_size=5000, test_size=1250)

def test_settings_beside_the_study_s(tmp_path):
    config, _ = resolve(dataset="isic2019", data_dir=str(tmp_path), model="cnn", device="cpu",
                        data_options=dict(train_size=None, image_size=64))
    assert config.weights == "random"
    assert config.data_options == dict(train_size=None, test_size=1250, image_size=64)
    assert resolve(method="ce")[0].weights == "random"
