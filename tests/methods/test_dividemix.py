"""DivideMix: what it learns and believes, what its steps see, odd data. Runs on scikit-learn's digits."""
import numpy as np
import pytest
import torch

from conftest import SMALL
from noisykit.errors import Refused
from noisykit.evaluation import evaluate_run
from noisykit.methods.dividemix import divided, in_steps, p_small
from noisykit.run import run_method
from noisykit.train.checkpoint import read_checkpoint, saved_networks
from refusals import refused

TINY = SMALL | dict(method="dividemix", probe_size=0, lr=0.02, data_options=dict(train_size=600), epochs=3,
                    options=dict(warm_up=1))

def train(folder, **settings): return run_method(quiet=True, run_dir=str(folder), **TINY | settings)

# ---- what it learns

LONGER = dict(epochs=8, noise_rate=0.4, lr=0.05, data_options=None, options=dict(warm_up=2))

@pytest.fixture(scope="module")
def run(tmp_path_factory): return train(tmp_path_factory.mktemp("dividemix")/"run", **LONGER)

def test_it_learns(run, tmp_path):
    "Better than plain training of as many epochs, and its labelled samples become purer"
    plain = train(tmp_path/"ce", **LONGER | dict(method="ce", options=None))
    metrics = run.metrics
    assert metrics.test_accuracy_ensemble.iloc[-1] > plain.metrics.test_accuracy.iloc[-1] + 0.03
    assert metrics.labelled_purity.iloc[-1] > max(0.98, metrics.labelled_purity.iloc[2] - 1e-9)

def test_what_the_record_holds(run):
    "Of every sample, by the ensemble; an opinion after the warm-up"
    clean, flipped = run.samples("p_clean", -1), run.labels.flipped
    assert clean[~flipped].mean() > 0.9
    assert clean[flipped].mean() < 0.1
    assert not run.has("p_clean", 2)
    assert np.isfinite(run.samples("loss", -1)).all()
    assert (run.samples("prediction", -1) == run.labels.true).mean() > 0.95

def test_the_networks_come_back(run):
    table, last = evaluate_run(run.folder, device="cpu").set_index("network"), run.metrics.iloc[-1]
    expected = {"network": last.test_accuracy, "2": last.test_accuracy_2, "ensemble": last.test_accuracy_ensemble}
    assert table.accuracy.to_dict() == expected
    one, two, ensemble = saved_networks(run, read_checkpoint(run), 1).values()
    x = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    for net in (one, two, ensemble): net.eval()
    assert torch.allclose(ensemble(x), (one(x) + two(x))/2)
    assert (one(x) != two(x)).any()

def test_each_network_learns_from_the_other_s_division(run):
    "The saved opinions and the labelled samples that follow from them"
    opinions = read_checkpoint(run)["parts"][0]["w"]
    assert np.allclose(opinions.mean(0), run.samples("p_clean", -1))
    assert (opinions[0] != opinions[1]).any()
    purity = [(~run.labels.flipped[divided(opinion, 0.5, 64).numpy()]).mean() for opinion in opinions]
    assert run.metrics.labelled_purity.iloc[-1] == pytest.approx(np.mean(purity))

# ---- what a step sees

def test_what_an_epoch_sees():
    "Every labelled sample once, and as many without a label in each step"
    labelled = torch.rand(1000, generator=torch.Generator().manual_seed(1)) < 0.8
    steps = in_steps(labelled, 64, 0, "test")
    seen = torch.cat(steps)
    assert seen[labelled[seen]].sort().values.equal(labelled.nonzero()[:, 0])
    assert all(labelled[step].sum()*2 == len(step) <= 128 for step in steps)
    times = seen[~labelled[seen]].bincount(minlength=1000)[~labelled]
    assert times.max() - times.min() <= 1   # as often as that takes, one as often as another
    for part in steps[0].tensor_split(4):   # in every process as many of one kind as of the other
        assert abs(labelled[part].sum()*2 - len(part)) <= 2
    others = in_steps(labelled, 64, 0, "another")
    assert any((one != other).any() for one, other in zip(steps, others) if len(one) == len(other))

def test_losses_that_are_all_the_same():
    assert (p_small(np.zeros(9)) == 1).all()
    assert (p_small(np.array([0.0])) == 1).all()

# ---- odd settings, and what is refused

ODD = [
    dict(data_options=dict(train_size=20)),
    dict(data_options=dict(train_size=20), batch_size=1, model="lenet"),
    dict(noise="none", noise_rate=None),
    dict(options=dict(warm_up=0, p_threshold=0.9999)),
    dict(options=dict(warm_up=0, p_threshold=1e-9)),
    dict(noise_rate=0.9, options=dict(warm_up=1, history=5)),
    dict(optimizer="adam", lr=1e-3),
    dict(grad_clip=0.1),
    dict(val_share=0.2),
    dict(probe_size=50),
    dict(model="lenet"),
    dict(method="dividemix+mo+lc", options=dict(warm_up=1, lc_after=1)),
]

@pytest.mark.parametrize("settings", ODD, ids=str)
def test_odd_settings(tmp_path, settings):
    run = train(tmp_path/"run", **dict(epochs=2, data_options=dict(train_size=200)) | settings)
    assert np.isfinite(run.metrics.objective).all()
    assert np.isfinite(run.samples("p_clean", -1)).all()
    assert np.isfinite(run.metrics.test_loss_ensemble).all()

REFUSED = [
    (dict(warm_up=3), "nothing would be divided"),
    (dict(alpha=-1.0), "dividemix option alpha is -1.0"),
    (dict(T=0.0), "dividemix option T is 0.0"),
    (dict(warmup=1), "did you mean 'warm_up'"),
]

@pytest.mark.parametrize("options, said", REFUSED)
def test_refusals(tmp_path, options, said):
    with refused(text=said, kinds=Refused): train(tmp_path/"run", options=options)
    assert not (tmp_path/"run").exists()
