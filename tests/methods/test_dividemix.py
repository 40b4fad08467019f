"""DivideMix: what it believes, what its steps see, where it stops and goes on, odd data, several processes. Whole runs on scikit-learn's digits."""
import os, signal

import numpy as np
import pytest
import torch

import helpers
from conftest import SMALL
from noisykit.evaluation import evaluate_run
from noisykit.train.checkpoint import read_checkpoint, saved_networks
from noisykit.methods.dividemix import DivideMix, divided, in_steps, p_small
from noisykit.processes import Stopped, launch
from noisykit.record import Run
from noisykit.errors import Refused
from noisykit.run import run_method

TINY = SMALL | dict(method="dividemix", probe_size=0, lr=0.02, data_options=dict(train_size=600), epochs=3, options=dict(warm_up=1))
def train(folder, **kw): return run_method(quiet=True, run_dir=str(folder), **TINY | kw)
def same(a, b):
    "Two saved states, to the bit"
    if isinstance(a, dict): return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)): return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b))
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b

@pytest.fixture(scope="module")
def run(tmp_path_factory): return train(tmp_path_factory.mktemp("dividemix")/"run", epochs=8, noise_rate=0.4, lr=0.05, data_options=None, options=dict(warm_up=2))

def test_it_learns(run):
    "Better than plain training of as many epochs, and its labelled samples become purer"
    plain = run_method(quiet=True, run_dir=str(run.folder.parent/"ce"), **TINY | dict(method="ce", epochs=8, noise_rate=0.4, lr=0.05, data_options=None, options=None))
    m = run.metrics
    assert m.test_accuracy_ensemble.iloc[-1] > plain.metrics.test_accuracy.iloc[-1] + 0.03 and m.labelled_purity.iloc[-1] > max(0.98, m.labelled_purity.iloc[2] - 1e-9)
    w, flipped = run.samples("p_clean", -1), run.labels.flipped
    assert w[~flipped].mean() > 0.9 and w[flipped].mean() < 0.1 and not run.has("p_clean", 2)
    assert np.isfinite(run.samples("loss", -1)).all() and (run.samples("prediction", -1) == run.labels.true).mean() > 0.95   # every sample, by the ensemble

def test_the_networks_come_back(run):
    table, last = evaluate_run(run.folder, device="cpu").set_index("network"), run.metrics.iloc[-1]
    assert table.accuracy.to_dict() == {"network": last.test_accuracy, "2": last.test_accuracy_2, "ensemble": last.test_accuracy_ensemble}
    one, two, ensemble = saved_networks(run, read_checkpoint(run), 1).values()
    x = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    for net in (one, two, ensemble): net.eval()
    assert torch.allclose(ensemble(x), (one(x) + two(x))/2) and (one(x) != two(x)).any()

def test_each_network_learns_from_the_other_s_division(run):
    "The saved opinions and the labelled samples that follow from them"
    w = read_checkpoint(run)["parts"][0]["w"]
    assert np.allclose(w.mean(0), run.samples("p_clean", -1)) and (w[0] != w[1]).any()
    purity = [(~run.labels.flipped[divided(v, 0.5, 64).numpy()]).mean() for v in w]
    assert run.metrics.labelled_purity.iloc[-1] == pytest.approx(np.mean(purity))

TWICE = dict(options=dict(warm_up=1, history=2))
@pytest.fixture(scope="module")
def whole(tmp_path_factory): return train(tmp_path_factory.mktemp("whole")/"run", **TWICE)

@pytest.mark.parametrize("steps", [5, 14, 19])   # warm-up: 5 steps for each network; then, by step 14 the first network's steps, by 19 the second's
def test_stopped_in_the_middle(tmp_path, monkeypatch, whole, steps):
    "It goes on to the same networks, opinions and losses, to the bit"
    real = DivideMix.step
    def told(self, batch):
        if self.trainer.steps == steps: os.kill(os.getpid(), signal.SIGTERM)
        return real(self, batch)
    monkeypatch.setattr(DivideMix, "step", told)
    with pytest.raises(Stopped): train(tmp_path/"run", **TWICE)
    monkeypatch.undo()
    cut = read_checkpoint(Run(tmp_path/"run"))
    assert cut["middle"] and len(cut["middle"]["losses"]) > 0
    run = train(tmp_path/"run", **TWICE)
    assert all(same(read_checkpoint(run)[k], read_checkpoint(whole)[k]) for k in ("net", "parts", "opt"))
    for name in ("loss", "prediction", "p_clean"): assert np.array_equal(run.samples(name, -1), whole.samples(name, -1)), name

PAIRS = {"asymmetric": dict(noise="asymmetric", noise_rate=0.4, noise_options=dict(map="next"), epochs=2, options=dict(warm_up=1, confidence_penalty=True, lambda_u=0.0)),
         "averaged losses, parts of different size": dict(options=dict(warm_up=0, history=2), batch_size=61, epochs=2), "batch norm over all": dict(method="dividemix+mo", options=dict(warm_up=1, p_threshold=0.99, ema_decay=0.9), batch_norm="synced", epochs=2)}

@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    settings = {(k, n): TINY | dict(precision="float64", batch_norm="frozen", data_options=dict(train_size=300)) | kw | dict(nproc=n, run_dir=str(folder/f"{i}-{n}")) for i, (k, kw) in enumerate(PAIRS.items()) for n in (1, 2)}
    for (_, n), kw in settings.items():
        if n == 1: run_method(quiet=True, **kw)
    launch(helpers.train_all, [kw for (_, n), kw in settings.items() if n == 2], nproc=2)
    return {k: Run(kw["run_dir"]) for k, kw in settings.items()}

@pytest.mark.parametrize("key", PAIRS)
def test_two_processes_are_one(pairs, key):
    one, two = pairs[key, 1], pairs[key, 2]
    a, b = (read_checkpoint(r) for r in (one, two))
    for x, y in ((a["net"], b["net"]), (a["parts"][0]["net"], b["parts"][0]["net"])):
        assert max(float((x[k] - y[k]).norm()/x[k].norm()) for k in x if x[k].is_floating_point() and x[k].norm()) < 1e-10
    assert np.allclose(a["parts"][0]["w"], b["parts"][0]["w"], atol=1e-9) and one.metrics.objective.tolist() == pytest.approx(two.metrics.objective.tolist(), rel=1e-9)

def test_what_an_epoch_sees():
    labelled = torch.rand(1000, generator=torch.Generator().manual_seed(1)) < 0.8
    steps = in_steps(labelled, 64, 0, "test")
    seen = torch.cat(steps)
    assert seen[labelled[seen]].sort().values.equal(labelled.nonzero()[:, 0]) and all(labelled[s].sum()*2 == len(s) <= 128 for s in steps)
    without = seen[~labelled[seen]].bincount(minlength=1000)[~labelled]
    assert without.max() - without.min() <= 1   # as often as that takes, one as often as another
    for part in steps[0].tensor_split(4): assert abs(labelled[part].sum()*2 - len(part)) <= 2   # in every process as many of one kind as of the other
    assert any((a != b).any() for a, b in zip(steps, in_steps(labelled, 64, 0, "another")) if len(a) == len(b))

@pytest.mark.parametrize("kw", [dict(data_options=dict(train_size=20)), dict(data_options=dict(train_size=20), batch_size=1, model="lenet"), dict(noise="none", noise_rate=None), dict(options=dict(warm_up=0, p_threshold=0.9999)), dict(options=dict(warm_up=0, p_threshold=1e-9)),
                                dict(noise_rate=0.9, options=dict(warm_up=1, history=5)), dict(precision="bfloat16"), dict(optimizer="adam", lr=1e-3), dict(grad_clip=0.1), dict(val_share=0.2), dict(probe_size=50), dict(model="lenet"), dict(method="dividemix+mo+lc", options=dict(warm_up=1, lc_after=1))], ids=str)
def test_odd_settings(tmp_path, kw):
    run = train(tmp_path/"run", **dict(epochs=2, data_options=dict(train_size=200)) | kw)
    assert np.isfinite(run.metrics.objective).all() and np.isfinite(run.samples("p_clean", -1)).all() and np.isfinite(run.metrics.test_loss_ensemble).all()

def test_losses_that_are_all_the_same(): assert (p_small(np.zeros(9)) == 1).all() and (p_small(np.array([0.0])) == 1).all()

@pytest.mark.parametrize("kw, said", [(dict(options=dict(warm_up=3)), "nothing would be divided"), (dict(options=dict(alpha=-1.0)), "dividemix option alpha is -1.0"), (dict(options=dict(T=0.0)), "dividemix option T is 0.0"), (dict(options=dict(warmup=1)), "did you mean 'warm_up'")])
def test_refusals(tmp_path, kw, said):
    with pytest.raises(Refused) as e: train(tmp_path/"run", **kw)
    assert said in str(e.value) and "\n" not in str(e.value) and not (tmp_path/"run").exists()
