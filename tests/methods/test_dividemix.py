"""DivideMix: what it believes, what its steps see, odd data. Whole runs on scikit-learn's digits."""
import numpy as np
import pytest
import torch

from conftest import SMALL
from noisykit.evaluation import evaluate_run
from noisykit.train.checkpoint import read_checkpoint, saved_networks
from noisykit.methods.dividemix import divided, in_steps, p_small
from noisykit.errors import Refused
from noisykit.run import run_method

TINY = SMALL | dict(method="dividemix", probe_size=0, lr=0.02, data_options=dict(train_size=600), epochs=3, options=dict(warm_up=1))
def train(folder, **kw): return run_method(quiet=True, run_dir=str(folder), **TINY | kw)
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
                                dict(noise_rate=0.9, options=dict(warm_up=1, history=5)), dict(optimizer="adam", lr=1e-3), dict(grad_clip=0.1), dict(val_share=0.2), dict(probe_size=50), dict(model="lenet"), dict(method="dividemix+mo+lc", options=dict(warm_up=1, lc_after=1))], ids=str)
def test_odd_settings(tmp_path, kw):
    run = train(tmp_path/"run", **dict(epochs=2, data_options=dict(train_size=200)) | kw)
    assert np.isfinite(run.metrics.objective).all() and np.isfinite(run.samples("p_clean", -1)).all() and np.isfinite(run.metrics.test_loss_ensemble).all()

def test_losses_that_are_all_the_same(): assert (p_small(np.zeros(9)) == 1).all() and (p_small(np.array([0.0])) == 1).all()

@pytest.mark.parametrize("kw, said", [(dict(options=dict(warm_up=3)), "nothing would be divided"), (dict(options=dict(alpha=-1.0)), "dividemix option alpha is -1.0"), (dict(options=dict(T=0.0)), "dividemix option T is 0.0"), (dict(options=dict(warmup=1)), "did you mean 'warm_up'")])
def test_refusals(tmp_path, kw, said):
    with pytest.raises(Refused) as e: train(tmp_path/"run", **kw)
    assert said in str(e.value) and "\n" not in str(e.value) and not (tmp_path/"run").exists()
