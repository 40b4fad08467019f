"""MW-Net and L2B: weights and meta-gradients against numbers computed by hand, and the methods that they become at
their limits. A linear layer with two samples, whose logits are those of the other methods' tests."""
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from noisykit.methods import l2b
from noisykit.methods.l2b import L2B
from noisykit.methods.l2r import L2R
from noisykit.methods.mwnet import MWNet
from noisykit.train.metagrad import ENGINES, Passes, weigh
from noisykit.train.method import Batch
from noisykit.train.trainer import MetaTraining

LR = .5
LOGITS = torch.tensor([[2., 0, -1], [.5, 1.2, .1]], dtype=torch.float64)
PROBE = torch.tensor([[.6, .8], [-1, .5], [.3, 2]], dtype=torch.float64), torch.tensor([0, 2, 1])

@pytest.fixture(autouse=True)
def _float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)

class Bench(MetaTraining):
    "A trainer of a linear layer that gives two one-hot samples the logits above"
    def __init__(self, engine="jvp", lr=LR, optimizer=torch.optim.SGD, classes=(0, 1, 2)):
        self.net, self.device, self.steps = nn.Linear(2, 3, bias=False), torch.device("cpu"), 0
        self.net.weight.data = LOGITS.T.clone()
        self.opt, self.passes = optimizer(self.net.parameters(), lr=lr), Passes(self.net)
        self.config = SimpleNamespace(seed=0, engine=engine, meta_level="all", meta_every=1, unmoved_slope="zero")
        noise, names = SimpleNamespace(given=np.array(classes)), ["a", "b", "c"]
        self.data = SimpleNamespace(noise=noise, source=SimpleNamespace(classes=names))
    def probe(self, half=None): return Batch(None, *PROBE, epoch=1, size=3)

def batch_of(labels=(0, 0), epoch=1):
    return Batch(torch.arange(2), torch.eye(2), torch.tensor(labels), epoch, size=2)

def stepped(cls, labels=(0, 0), trainer=None, **options):
    "(the step, gradient that it leaves in the layer)"
    trainer = trainer or Bench()
    step = cls(trainer, cls.Options(**options)).step(batch_of(labels))
    return step, torch.autograd.grad(step.loss, trainer.net.weight)[0]

def gradient(weight, x, y):
    "Of the cross entropy of samples, one by one, in a linear layer: (p - onehot) times x, without autograd"
    z = x.numpy() @ weight.T
    p = np.exp(z)/np.exp(z).sum(1, keepdims=True)
    return (p - np.eye(3)[y])[:, :, None]*x.numpy()[:, None]

def usefulness(labels):
    "lr*<g_i, g_out>, since the look-ahead step at eps 0 stays where it is"
    W = LOGITS.T.numpy()
    outer = gradient(W, *PROBE).mean(0)
    return LR*(gradient(W, torch.eye(2), labels)*outer).sum((1, 2))

# ---- L2B

GIVEN, PSEUDO = [0, 0], [0, 1]   # pseudo labels are the largest logits

@pytest.mark.parametrize("engine", ENGINES)
def test_l2b_weighs_both_labels_by_inner_products_with_the_probes_gradient(engine):
    useful = np.stack([usefulness(GIVEN), usefulness(PSEUDO)])
    assert useful == pytest.approx(np.array([[.002605, -.059270], [.002605, .030828]]), abs=5e-7)
    a, b = useful.clip(min=0)/useful.clip(min=0).sum()
    step, gradient_left = stepped(L2B, trainer=Bench(engine))
    assert step.weights.numpy()/2 == pytest.approx(a + b, abs=1e-14)
    assert step.values["pseudo_weight"].numpy()/2 == pytest.approx(b, abs=1e-14)
    assert step.targets.argmax(1).tolist() == PSEUDO   # the second sample's given label harms
    both = [weights[:, None, None]*gradient(LOGITS.T.numpy(), torch.eye(2), labels)
            for weights, labels in ((a, GIVEN), (b, PSEUDO))]
    assert gradient_left.numpy() == pytest.approx(sum(both).sum(0), abs=1e-14)

def test_l2b_is_l2r_where_pseudo_labels_are_the_given_ones():
    (one, of_one), (other, of_other) = stepped(L2B, PSEUDO), stepped(L2R, PSEUDO)
    assert torch.allclose(one.weights, other.weights, atol=1e-14) and torch.allclose(of_one, of_other, atol=1e-14)
    assert torch.allclose(one.values["pseudo_weight"], one.weights/2, atol=1e-14)   # a = b

def test_l2b_without_its_second_half_is_l2r(monkeypatch):
    labels = (0, 2)
    monkeypatch.setattr(l2b, "weigh", lambda useful: torch.stack([weigh(useful[0]), torch.zeros(2)]))
    (one, of_one), (other, of_other) = stepped(L2B, labels), stepped(L2R, labels)
    assert torch.equal(one.weights, other.weights) and torch.allclose(of_one, of_other, atol=1e-14)
    assert torch.equal(one.targets, F.one_hot(torch.tensor(labels), 3).double())

@pytest.mark.parametrize("bench, options", [(dict(), dict(warm_up=1)), (dict(optimizer=torch.optim.Adam), dict())])
def test_l2b_begins_with_plain_training(bench, options):
    step, _ = stepped(L2B, trainer=Bench(**bench), **options)
    assert float(step.loss.detach()) == pytest.approx((.169846 + 1.304019)/2, abs=1e-6)
    assert step.weights.tolist() == [1, 1] and not step.values["pseudo_weight"].any()

# ---- MW-Net

def mwnet(trainer, constant=None, **options):
    "The method, in an epoch; `constant`: V is that for every loss"
    method = MWNet(trainer, MWNet.Options(**options))
    method.begin_epoch(1)
    if constant is not None:
        for p in method.phi: p.data.zero_()
        method.net.out.bias.data.fill_(constant)   # before the sigmoid
    return method

def weights_and_slopes(method, losses):
    "V and its derivative in each parameter, sample by sample, without autograd: [B], list of [B, ...]"
    first, start, last, end = (p.detach().numpy() for p in method.phi)
    hidden = losses[:, None]*first[:, 0] + start
    V = 1/(1 + np.exp(-(hidden.clip(min=0) @ last[0] + end[0])))
    back = (V*(1 - V))[:, None]
    inside = back*last[0]*(hidden > 0)
    return V, [(inside*losses[:, None])[:, :, None], inside, (back*hidden.clip(min=0))[:, None], back]

@pytest.mark.parametrize("engine", ENGINES)
def test_mwnet_learns_by_inner_products_with_the_probes_gradient(engine):
    "-(lr/B) sum_i <g_i, g_out(theta')> dV(loss_i)"
    trainer, W, labels = Bench(engine), LOGITS.T.numpy(), [0, 0]
    method = mwnet(trainer)
    own = gradient(W, torch.eye(2), labels)
    losses = np.log(np.exp(W).sum(0)) - W[labels, [0, 1]]
    assert losses == pytest.approx([.169846, 1.304019], abs=5e-7)
    V, slopes = weights_and_slopes(method, losses)
    ahead = W - LR/2*(V[:, None, None]*own).sum(0)
    helps = (own*gradient(ahead, *PROBE).mean(0)).sum((1, 2))
    method.step(batch_of(labels))
    for p, slope in zip(method.phi, slopes):
        expected = -LR/2*np.tensordot(helps, slope, 1)
        assert p.grad.numpy() == pytest.approx(expected, abs=1e-14)

def test_a_constant_v_is_plain_training():
    trainer = Bench()
    method = mwnet(trainer, constant=40.)   # sigmoid(40) is 1 in float64, and has no slope
    step = method.step(batch_of())
    assert float(step.loss.detach()) == pytest.approx((.169846 + 1.304019)/2, abs=1e-6)
    assert step.weights.tolist() == [1, 1] and method.metrics() == dict(mean_weight=1)

def test_without_a_rate_nothing_is_taught():
    method = mwnet(Bench(lr=0.))
    method.step(batch_of())
    assert not any(p.grad.any() for p in method.phi)

def test_v_sees_the_class_by_its_group():
    "The first class is small, and only its output learns from the bench's samples"
    trainer = Bench(classes=[0, 1, 1, 1, 2, 2, 2])
    method = mwnet(trainer, classes=2)
    assert method.groups.tolist() == [0, 1, 1]
    method.step(batch_of())
    taught = method.net.out.weight.grad
    assert taught[0].any() and not taught[1].any()
