"""Mixed labels, proposal, upper bound: what they keep of each sample, and the clean network that one of them needs. Whole runs in this process."""
import numpy as np
import pandas as pd
import pytest
import torch

from conftest import SMALL, tree
from noisykit.data.source import load_dataset
from noisykit.methods.label_mixing import mix
from noisykit.record import Run
from noisykit.errors import Refused
from noisykit.resolve import resolve
from noisykit.run import run_method

def train(folder, **kw): return run_method(quiet=True, run_dir=str(folder), **SMALL | dict(lr=0.02) | kw)
def state(run): return torch.load(run.folder/"checkpoint.pt", weights_only=True)

def test_the_record_holds_what_was_chosen(tmp_path):
    run = train(tmp_path/"run", method="proposal", options=dict(scale="std"), epochs=3)
    beta, weight = run.samples("beta"), run.samples("weight")
    assert beta.shape == weight.shape == (3, len(run.labels)) and beta.min() > 0 and beta.max() < 1
    assert weight.mean(1) == pytest.approx(np.ones(3), abs=0.01)   # of each batch
    last = run.metrics.iloc[-1]
    for name, v in (("beta", beta[-1]), ("weight", weight[-1])): assert last[f"{name}_flipped"] == pytest.approx(v[run.labels.flipped].mean(), rel=1e-5)
    assert set(state(run)["parts"][0]) == {"beta", "weight"}
    assert np.array_equal(state(run)["parts"][0]["beta"].numpy(), beta[-1])   # every sample came by once

def test_the_targets_are_what_is_said(tmp_path):
    "Hard: the given label has its share, unless it is what the network says. Soft: what is mixed in is the last target"
    hard, soft = train(tmp_path/"hard", method="mixup_hard"), train(tmp_path/"soft", method="mixup_soft", keep_probs=True)
    beta, given, said = hard.samples("beta", -1), hard.labels.given.to_numpy(), hard.samples("prediction", -1)
    assert np.allclose(hard.samples("target_prob", -1), np.where(given == said, 1, np.maximum(beta, 1 - beta)), atol=1e-6)
    label = np.eye(10)[soft.labels.given]
    for e in (1, 2): b = soft.samples("beta", e)[:, None]; label = b*label + (1 - b)*soft.samples("probs", e).astype(float)
    assert np.allclose(state(soft)["parts"][0]["label"].numpy(), label, atol=2e-3)   # probs are half floats

def test_class_numbers_are_mixed_as_written():
    label, said = (torch.eye(9)[torch.arange(9).repeat_interleave(9)] if i else torch.eye(9)[torch.arange(9).repeat(9)] for i in (0, 1))
    for b in (0.501, 0.52, 0.999): assert mix(torch.full((81,), b), label, label, True).equal(label)   # rounding takes no class down
    assert mix(torch.tensor([0.52]), torch.eye(9)[[0]], torch.eye(9)[[7]], True).argmax() == 3

def test_balanced_accuracy_and_the_test_set(tmp_path):
    run = train(tmp_path/"run", method="ce")
    label, said = run.samples("label", "final_test"), run.samples("prediction", "final_test")
    last = run.metrics.iloc[-1]
    assert (label == said).mean() == pytest.approx(last.test_accuracy) and len(label) == 360
    assert np.mean([(said[label == c] == c).mean() for c in range(10)]) == pytest.approx(last.test_balanced_accuracy)

@pytest.mark.parametrize("kw", [dict(method="mixup_hard", options=dict(gradient="mixture", scale="std")), dict(method="proposal", options=dict(scale="std"))], ids=lambda kw: kw["method"])
def test_both_engines_learn_the_same(tmp_path, kw):
    a, b = (train(tmp_path/e, engine=e, precision="float64", epochs=1, **kw) for e in ("jvp", "higher"))
    assert np.allclose(a.samples("beta", 1), b.samples("beta", 1), atol=1e-6) and np.allclose(a.samples("loss", 1), b.samples("loss", 1), atol=1e-5)

@pytest.mark.parametrize("kw", [dict(optimizer="adam", lr=1e-3), dict(options=dict(weighting="clamp"))], ids=str)
def test_other_settings(tmp_path, kw):
    run = train(tmp_path/"run", **dict(method="proposal") | kw)
    beta, weight = run.samples("beta"), run.samples("weight")
    assert np.isfinite(run.samples("loss")).all() and 0 < beta.min() < beta.max() < 1 and weight.mean() == pytest.approx(1, abs=0.05) and (weight.min() == 0) == ("options" in kw)

def test_noise_goes_on_top_of_a_clean_network_s_labels(tmp_path):
    "SLN's noise stops where labels follow the network's own predictions (lc), not where they come from another one"
    clean = train(tmp_path/"clean", method="ce", noise="none", noise_rate=None)
    runs = [train(tmp_path/str(sigma), method="sln+pseudo", epochs=1, options=dict(sigma=sigma, pseudo_run=str(clean.folder))) for sigma in (0.0, 2.0)]
    assert not np.allclose(runs[0].samples("loss", 1), runs[1].samples("loss", 1), atol=1e-3)

# ---- upper bound

def test_its_clean_network_is_trained_once(tmp_path):
    "On the same samples under their true labels; the run says None, since that is what was asked for, and is resumed by the same command"
    run = train(tmp_path/"run", method="upper_bound")
    clean, = (Run(p) for p in tmp_path.glob("clean-digits-*") if p.is_dir())
    assert run.config["options"]["pseudo_run"] is None and clean.config["noise"] == "none" and clean.config["method"] == "ce"
    assert (clean.labels["index"] == run.labels["index"]).all() and not clean.labels.flipped.any()
    before, flipped = tree(clean.folder), run.labels.flipped.to_numpy()
    assert (run.samples("target", -1)[~flipped] == run.labels.given[~flipped]).all() and run.metrics.target_true_flipped.iloc[-1] > 0.7
    named = train(tmp_path/"named", method="upper_bound", options=dict(pseudo_run=str(clean.folder)))
    assert np.array_equal(named.samples("loss"), run.samples("loss")) and tree(clean.folder) == before
    soft = train(tmp_path/"soft", method="upper_bound", options=dict(pseudo_soft=True))
    prob = soft.samples("target_prob", -1)
    assert prob[flipped].min() < 0.9 and (prob[~flipped] == 1).all()

def test_bad_clean_networks(tmp_path):
    other = train(tmp_path/"other", method="ce", noise="none", noise_rate=None)
    text = (other.folder/"data.json").read_text()
    (other.folder/"data.json").write_text(text.replace('"9"', '"nine"'))
    for folder, sentence in ((other.folder, "does not fit, classes"), (tmp_path/"nowhere", "holds no run"), (train(tmp_path/"noisy", method="ce").folder, "was trained on wrong labels"),
                             (train(tmp_path/"digits", method="ce", dataset="mnist5k", data_options=dict(train_size=100), noise="none", noise_rate=None, epochs=1).folder, "does not fit, data set: mnist5k there, digits here")):
        with pytest.raises(Refused, match=sentence): train(tmp_path/"run", method="upper_bound", options=dict(pseudo_run=str(folder)))
    (other.folder/"data.json").write_text(text); metrics = (other.folder/"metrics.csv").read_text().splitlines(keepends=True); (other.folder/"metrics.csv").write_text("".join(metrics[:2]))
    with pytest.raises(Refused, match="not finished: 1 of 2 epochs"): train(tmp_path/"run", method="upper_bound", options=dict(pseudo_run=str(other.folder)))
    (other.folder/"metrics.csv").write_text("".join(metrics)); (other.folder/"checkpoint.pt").unlink()
    with pytest.raises(Refused, match="checkpoint.pt"): train(tmp_path/"run", method="upper_bound", options=dict(pseudo_run=str(other.folder)))
    foreign = dict(noise="openset", noise_options=dict(dataset="mnist5k"))
    with pytest.raises(Refused, match="name a run for method 'upper_bound'"): train(tmp_path/"run", method="upper_bound", **foreign)
    with pytest.raises(Refused, match="threshold gives samples a class"): train(tmp_path/"run", method="upper_bound", threshold=1)
    labels = load_dataset("digits").labels
    table = pd.DataFrame(dict(index=range(len(labels)), label_noisy=labels, removed=np.arange(len(labels)) < 5))
    table.to_csv(tmp_path/"some.csv", index=False)
    with pytest.raises(Refused, match="some.csv removes samples"):
        train(tmp_path/"run", method="upper_bound", noise=None, noise_rate=None, noise_file=str(tmp_path/"some.csv"))
    assert not (tmp_path/"run").exists()

def test_another_optimizer_and_another_folder_have_clean_networks_of_their_own(tmp_path):
    run = train(tmp_path/"run", method="upper_bound", optimizer="adam", lr=1e-3, epochs=1)
    clean, = (Run(p) for p in tmp_path.glob("clean-digits-*") if p.is_dir())
    assert clean.config["optimizer"] == "adam" and run.metrics.target_true_flipped.notna().all()
    from PIL import Image
    for n in (2, 3):
        for i in range(n*12):
            (d := tmp_path/f"images{n}/{i % n}").mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((16, 16, 3), 60*(i % n) + i % 7, np.uint8)).save(d/f"{i}.png")
        train(tmp_path/f"of{n}", method="upper_bound", dataset="imagefolder", data_dir=str(tmp_path/f"images{n}"), data_options=dict(image_size=16, workers=0), model="cnn", probe_size=n, batch_size=8, epochs=1)
    assert len([p for p in tmp_path.glob("clean-imagefolder-*") if p.is_dir()]) == 2

@pytest.mark.parametrize("kw, sentence", [(dict(method="upper_bound", probe_size=0), "needs a probe"), (dict(method="mixup_soft", options=dict(as_written=True)), "hard labels"),
                                          (dict(method="proposal", options=dict(labels="soft", as_written=True)), "hard labels"), (dict(method="mixup_hard", options=dict(scale=-1)), "above 0, or 'std'"),
                                          (dict(method="pseudo"), "'pseudo' is an add-on"), (dict(method="upper_bound+pseudo"), "an add-on twice"), (dict(method="probe_only+pseudo"), "nothing for pseudo to correct"), (dict(method="upper_bound+lc"), "more than one add-on that changes labels"),
                                          (dict(method="mixup_hard", options=dict(as_written=True, gradient="mixture")), "gradient must be 'given'"),
                                          (dict(probe_batch=0), "probe_batch must be a number of at least 1"), (dict(probe_batch=3, nproc=4), "a probe batch has 3")], ids=str)
def test_bad_input(tmp_path, kw, sentence):
    with pytest.raises((ValueError, Refused), match=sentence): run_method(run_dir=str(tmp_path/"run"), quiet=True, **SMALL | dict(method="l2r") | kw)
    assert not (tmp_path/"run").exists()

def test_a_probe_batch_is_what_a_step_sees(tmp_path, monkeypatch):
    from noisykit.train.trainer import Trainer
    sizes, real = set(), Trainer.probe
    monkeypatch.setattr(Trainer, "probe", lambda self: sizes.add(len((b := real(self)).x)) or b)
    train(tmp_path/"run", method="l2r", probe_batch=5, epochs=1)
    assert sizes == {5}

# ---- settings

def test_the_study_s_settings(tmp_path):
    c, presets = resolve(dataset="isic2019", data_dir=str(tmp_path), method="upper_bound", noise="symmetric", device="cpu")
    assert (c.model, c.weights, c.batch_size, c.grad_clip, c.options["weighting"]) == ("resnet50", "IMAGENET1K_V1", 128, 0.25, "sigmoid") and c.data_options == dict(train_size=5000, test_size=1250)
    c, _ = resolve(dataset="isic2019", data_dir=str(tmp_path), model="cnn", data_options=dict(train_size=None, image_size=64), device="cpu")
    assert c.weights == "random" and c.data_options == dict(train_size=None, test_size=1250, image_size=64)
    assert resolve(method="ce")[0].weights == "random"
