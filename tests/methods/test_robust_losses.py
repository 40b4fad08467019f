"""The robust losses on two samples with three classes, whose values were computed independently, in float64; their
limits and symmetries; and the pruning of gce in a run."""
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from conftest import SMALL
from noisykit.methods.robust_losses import (bootstrapped, generalised, jensen_shannon, negative, normalised, reverse,
                                            smoothed, squared)
from noisykit.run import run_method
from shared import checkpoint

LOGITS = torch.tensor([[2, 0, -1], [.5, 1.2, .1]], dtype=torch.float64)   # of the bench; both given labels are 0
LOG_P = LOGITS.log_softmax(1)
P, CE = LOG_P.exp(), -LOG_P
GIVEN = torch.tensor([0, 0])
VIEW = torch.tensor([[.6, .3, .1], [.2, .7, .1]], dtype=torch.float64).log()   # predictions of a second view
BOTH = torch.stack([LOG_P, VIEW])

def close(found, expected, atol=6e-7):
    return torch.allclose(found, torch.as_tensor(expected, dtype=found.dtype), 0, atol)

BENCH = {
    "gce, q .7": (generalised(LOG_P, .7), .160138, .855152),
    "gce, q 1e-8": (generalised(LOG_P, 1e-8), .169846, 1.304019),
    "rce": (reverse(LOG_P), 1.438704, 6.710297),
    "sce, .1 and 1": (.1*CE + reverse(LOG_P), 1.455688, 6.840699),
    "sce, 6 and .1": (6*CE + .1*reverse(LOG_P), 1.162946, 8.495143),
    "nce": (normalised(LOG_P), .030828, .361018),
    "nn": (negative(LOG_P), .627767, .668902),
    "amse, 30": (squared(LOG_P, 30.), 283.366370, 294.706415),
    "nce+rce, 1 and 1": (normalised(LOG_P) + reverse(LOG_P), 1.469531, 7.071316),
    "nce+rce, 10 and .1": (10*normalised(LOG_P) + .1*reverse(LOG_P), .452147, 4.281214),
    "anl, 5 and 5": (5*normalised(LOG_P) + 5*negative(LOG_P), 3.292971, 5.149600),
    "jal, 1, 1 and 30": (normalised(LOG_P) + squared(LOG_P, 30.), 283.397198, 295.067433),
    "js .5": (jensen_shannon(LOG_P[None], .5), .165763, 1.048837),
    "js .7": (jensen_shannon(LOG_P[None], .7), .163823, .968141),
    "js 1e-6": (jensen_shannon(LOG_P[None], 1e-6), .169846, 1.304018),
    "gjs .3": (jensen_shannon(BOTH, .3), .423540, 1.273153),
    "gls .1": (smoothed(LOG_P, .1), .336513, 1.294019),
    "gls .6": (smoothed(LOG_P, .6), 1.169846, 1.244019),
    "gls -1": (smoothed(LOG_P, -1), -1.496821, 1.404019),
    "gls -4": (smoothed(LOG_P, -4), -6.496821, 1.704019),
    "soft .95": (bootstrapped(LOG_P, .95), .187567, 1.288527),
    "hard .8": (bootstrapped(LOG_P, .8, hard=True), .169846, 1.164019),
}

@pytest.mark.parametrize("name", BENCH)
def test_against_the_given_label(name):
    losses, *expected = BENCH[name]
    assert close(losses[:, 0], expected)

SYMMETRIC = {   # the sum over classes is the same for every p
    "absolute error": (generalised(LOG_P, 1.), 2),
    "rce": (reverse(LOG_P), -2*math.log(1e-4)),
    "rce, another zero": (reverse(LOG_P, math.exp(-4)), 8),
    "nce": (normalised(LOG_P), 1),
    "nn": (negative(LOG_P), 2),
}

@pytest.mark.parametrize("name", SYMMETRIC)
def test_symmetric(name):
    losses, total = SYMMETRIC[name]
    assert close(losses.sum(1), [total, total], 1e-14)

LIMITS = {   # what a loss becomes, within a distance
    "gce, q to 0": (generalised(LOG_P, 1e-12), CE, 1e-11),
    "gce, q 1": (generalised(LOG_P, 1.), 1 - P, 1e-15),
    "gls, r 0": (smoothed(LOG_P, 0.), CE, 0),
    "soft, beta 1": (bootstrapped(LOG_P, 1.), CE, 0),
    "hard, beta 1": (bootstrapped(LOG_P, 1., hard=True), CE, 0),
    "js, weight to 0": (jensen_shannon(LOG_P[None], 1e-6), CE, 1e-5),
    "js, weight nearly 1": (jensen_shannon(LOG_P[None], 1 - 1e-6)[1, 0], .7557, 5e-5),   # 1 - p is .7286
    "two equal views": (jensen_shannon(torch.stack([LOG_P, LOG_P]), .3), jensen_shannon(LOG_P[None], .3), 1e-15),
    "amse as it is written": (squared(LOG_P, 30.), ((P[:, None] - 30*torch.eye(3))**2).mean(2), 1e-12),
}

@pytest.mark.parametrize("name", LIMITS)
def test_limits(name):
    found, expected, atol = LIMITS[name]
    assert close(found, expected, atol)

def test_smoothing_is_that_of_torch():
    torchs = F.cross_entropy(LOGITS, GIVEN, reduction="none", label_smoothing=.1)
    assert close(smoothed(LOG_P, .1)[:, 0], torchs, 1e-15)

def test_js_by_its_definition():
    "Sum of the weighted KL divergences from the mean, with 0 log 0 = 0"
    label, weights = F.one_hot(GIVEN, 3).double(), (.3, .35, .35)
    parts = [label, *BOTH.exp()]
    mean = sum(w*part for w, part in zip(weights, parts))
    divergence = sum(w*(torch.xlogy(part, part) - part*mean.log()).sum(1) for w, part in zip(weights, parts))
    assert close(jensen_shannon(BOTH, .3)[:, 0], divergence/(-.7*math.log(.7)), 1e-14)

def test_gjs_is_js_and_disagreement():
    "GJS = JS of the mean prediction + (1 - pi)(H(mean) - mean of H)/Z"
    def entropy(p): return -torch.xlogy(p, p).sum(-1)
    mean = BOTH.exp().mean(0)
    apart = .7*(entropy(mean) - entropy(BOTH.exp()).mean(0))/(-.7*math.log(.7))
    assert close(jensen_shannon(BOTH, .3)[:, 0], jensen_shannon(mean.log()[None], .3)[:, 0] + apart, 1e-14)

def gradient(loss):
    z = LOGITS.clone().requires_grad_()
    return torch.autograd.grad(loss(z.log_softmax(1))[:, 0].sum(), z)[0]

ONE_HOT = F.one_hot(GIVEN, 3).double()
GRADIENTS = {
    "gce": (lambda log_p: generalised(log_p, .7), P[:, :1]**.7*(P - ONE_HOT), 1e-15),
    "gls": (lambda log_p: smoothed(log_p, -4.), P - 5*ONE_HOT + 4/3, 1e-14),
}

@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients(name):
    loss, expected, atol = GRADIENTS[name]
    assert close(gradient(loss), expected, atol)

DETACHED, ATTACHED = (-.692133, .519280, .172853), (-.687928, .508617, .179311)

@pytest.mark.parametrize("through, expected", [(False, DETACHED), (True, ATTACHED)])
def test_whether_the_gradient_passes_through_the_prediction(through, expected):
    assert close(gradient(lambda log_p: bootstrapped(log_p, .95, through=through))[1], expected)

def test_attached_bootstrapping_adds_entropy():
    "beta*CE + (1 - beta)*H(p), its gradient too"
    def sum_of_both(log_p): return -.95*log_p - .05*(log_p.exp()*log_p).sum(1, keepdim=True)
    assert close(gradient(lambda log_p: bootstrapped(log_p, .95, through=True)), gradient(sum_of_both), 1e-15)

def test_truncation_on_the_bench():
    "L_q(.5) is .549182: only the first sample's label has a larger probability, and a smaller loss"
    limit = generalised(torch.tensor(.5).double().log(), .7)
    assert close(limit, .549182)
    assert (generalised(LOG_P, .7)[:, 0] < limit).tolist() == [True, False] == (P[:, 0] > .5).tolist()

# ---- in runs

FEW = SMALL | dict(data_options=dict(train_size=200, test_size=100), probe_size=0, epochs=3, precision="float64")

def train(folder, **settings): return run_method(quiet=True, run_dir=str(folder), **FEW | settings)

AS_CE = {
    "gce": dict(q=1e-9), "gls": dict(smoothing=0.), "bootstrap": dict(beta=1.), "sce": dict(alpha=1., beta=0.),
    "gls, warming up": dict(smoothing=-1., warm_up=3),
}

def test_limits_train_as_cross_entropy_does(tmp_path):
    plain = checkpoint(train(tmp_path/"ce", method="ce").folder)["net"]
    for name, options in AS_CE.items():
        method = name.split(",")[0]
        own = checkpoint(train(tmp_path/name, method=method, options=options).folder)["net"]
        assert all(torch.allclose(own[key], plain[key], 1e-5, 1e-7) for key in plain), name

def test_passive_rce_alone_is_sce_without_cross_entropy(tmp_path):
    one = train(tmp_path/"apl", method="apl", options=dict(alpha=0., beta=1.))
    other = train(tmp_path/"sce", method="sce", options=dict(alpha=0., beta=1.))
    assert np.array_equal(one.samples("loss"), other.samples("loss"))

def test_gce_leaves_samples_out_and_takes_them_back(tmp_path):
    "Nobody is left out in `prune_after` epochs; then those whose label was doubted when they last came up"
    run = train(tmp_path/"run", method="gce", options=dict(k=.3, prune_after=1), epochs=5, data_options={})
    weights = [run.samples("weight", epoch) for epoch in (2, 3, 4, 5)]
    assert "weight" not in np.load(run.folder/"samples/0001.npz")
    for epoch, weight in enumerate(weights, 2):
        assert np.array_equal(weight, run.samples("given_prob", epoch - 1) > .3)
    assert any(((before == 0) & (after == 1)).any() for before, after in zip(weights, weights[1:]))

def test_l1_pulls_parameters_to_zero(tmp_path):
    def size(name, l1):
        net = checkpoint(train(tmp_path/name, method="apl", options=dict(passive="nn", l1=l1)).folder)["net"]
        return sum(float(value.abs().sum()) for key, value in net.items() if "running" not in key)
    assert size("with", 1e-3) < .95*size("without", 0.)
