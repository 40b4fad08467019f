"""A run that is stopped in the middle of an epoch goes on to the same bits: what each method remembers, with options
that the contract of all methods does not have."""
from functools import cache

import pytest

from conftest import SMALL
from noisykit.methods.dividemix import DivideMix
from noisykit.methods.fsr import FSR
from noisykit.methods.ieg import IEG
from noisykit.methods.label_mixing import MixupHard
from noisykit.methods.mlc import MLC
from noisykit.methods.sln import SLN
from noisykit.run import run_method
from shared import assert_same_run, checkpoint
from stops import stopped_after

# 600 samples: 9 or 10 steps an epoch; all samples of digits: 23
FEW = dict(data_options=dict(train_size=600))

RUNS = {
    # the shares of each sample, and the last targets or the weights
    "mixup, exact gradient": (MixupHard, dict(method="mixup_hard", options=dict(gradient="mixture", scale="std"))),
    "mixup, soft": (MixupHard, dict(method="mixup_soft", options=dict(scale="std"))),
    "proposal": (MixupHard, dict(method="proposal", options=dict(scale="std"))),
    "proposal, soft": (MixupHard, dict(method="proposal+mo", options=dict(labels="soft", gradient="mixture"))),
    # the label-correction network, its optimizer and its memory of K steps
    "mlc": (MLC, FEW | dict(method="mlc", options=dict(meta_steps=4, skip=True))),
    # averages, and a rate that restarts
    "ieg": (IEG, FEW | dict(method="ieg+mo", options=dict(ema_ramp=True),
                            schedule=dict(first=1, longer=1.5, lower=0.9))),
    # queue, scores and earlier predictions
    "fsr": (FSR, FEW | dict(method="fsr+mo", probe_size=0, options=dict(queue=60, queue_batch=30, after=1))),
    # two networks, and their opinions of two epochs
    "dividemix": (DivideMix, FEW | dict(method="dividemix", probe_size=0, options=dict(warm_up=1, history=2))),
    # the average, and corrected targets from the second epoch on
    "sln": (SLN, dict(method="sln+mo+lc", probe_size=0, options=dict(lc_after=1, ema_decay=0.9))),
}

# (run, steps that it has taken when it is told to stop)
STOPS = [
    ("mixup, exact gradient", 33),
    ("mixup, soft", 33),
    ("proposal", 33),
    ("proposal, soft", 33),
    ("mlc", 14),
    ("ieg", 14),
    ("fsr", 14),
    ("dividemix", 5),   # in the second network's warm-up: 5 steps for each network
    ("dividemix", 14),   # in the first network's steps after it
    ("dividemix", 19),   # in the second network's
    ("sln", 30),   # in the first corrected epoch
    ("sln", 60),   # in the second one
]

def train(name, folder):
    usual = SMALL | dict(lr=0.02, epochs=3)
    return run_method(quiet=True, run_dir=str(folder), **usual | RUNS[name][1])

@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    "name -> folder of its uninterrupted run"
    @cache
    def folder_of(name): return train(name, tmp_path_factory.mktemp("whole")/"run").folder
    return folder_of

@pytest.mark.parametrize("name, steps", STOPS)
def test_stopped_in_the_middle(tmp_path, whole, name, steps):
    folder = tmp_path/"run"
    with stopped_after(RUNS[name][0], steps): train(name, folder)
    cut = checkpoint(folder)
    assert 0 < len(cut["middle"]["losses"]) < 23
    if name == "mlc":   # gradients wait for their K-th step
        assert any(gradient.abs().max() > 0 for gradient in cut["parts"][0]["memory"])
    train(name, folder)
    assert_same_run(folder, whole(name))

# what a method keeps of its samples, beside the networks
KEPT = [
    ("mixup, exact gradient", {"beta"}),
    ("mixup, soft", {"beta", "label"}),
    ("proposal", {"beta", "weight"}),
    ("proposal, soft", {"beta", "label", "weight"}),
]

@pytest.mark.parametrize("name, kept", KEPT)
def test_what_mixing_keeps(whole, name, kept): assert set(checkpoint(whole(name))["parts"][0]) == kept
