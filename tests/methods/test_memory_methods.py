"""Methods that remember something of each sample. Their formulas on one bench of two samples and three classes, both
with given label 0, by numbers that were computed elsewhere."""
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from noisykit.config import Config
from noisykit.methods.elr import ELR, clipped, early_regulariser, moved_targets
from noisykit.train.method import Batch

LOGITS = torch.tensor([[2., 0., -1.], [.5, 1.2, .1]], dtype=torch.float64)
LABELS = torch.tensor([0, 0])
CE = [.169846, 1.304019]

@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)

def trainer(**more):
    "As much of a trainer as a step asks for; the network hands on what it is given"
    source = SimpleNamespace(classes=["a", "b", "c"])
    return SimpleNamespace(net=nn.Identity(), given=LABELS, device=torch.device("cpu"), steps=0,
                           config=Config(seed=0, epochs=100), data=SimpleNamespace(source=source), **more)

def batch(**more):
    "Both samples; their pictures are logits"
    return Batch(rows=torch.arange(2), x=LOGITS.clone().requires_grad_(), y=LABELS, epoch=1, size=2, **more)

def about(*values): return pytest.approx(values, abs=1e-6)

# ---- ELR

def test_elr_on_the_bench():
    p, target = clipped(LOGITS), torch.tensor([[.7, .2, .1], [.1, .8, .1]])
    regulariser = early_regulariser(p, target)
    assert regulariser.tolist() == about(-.961540, -.658992)
    assert (torch.tensor(CE) + 3*regulariser).tolist() == pytest.approx([-2.714774, -.672957], abs=3e-6)

def test_elr_first_targets():
    first = moved_targets(torch.zeros(2, 3), clipped(LOGITS), beta=.7)
    assert first[0].tolist() == about(.253138, .034259, .012603)
    assert first[1].tolist() == about(.081432, .163983, .054585)

def test_elr_gradient():
    "-p_k (t_k - <p, t>)/(1 - <p, t>): no label in it"
    z, target = LOGITS.clone().requires_grad_(), torch.tensor([[.7, .2, .1], [.1, .8, .1]])
    early_regulariser(clipped(z), target).sum().backward()
    p = LOGITS.softmax(1)
    agreement = (p*target).sum(1, keepdim=True)
    assert torch.allclose(z.grad, -p*(target - agreement)/(1 - agreement), atol=1e-12)

def test_elr_without_strength_is_plain_training():
    seen = batch()
    step = ELR(trainer(), ELR.Options(strength=0.)).step(seen)
    step.loss.backward()
    assert step.loss.item() == pytest.approx(sum(CE)/2, abs=1e-6)
    assert torch.allclose(seen.x.grad, (LOGITS.softmax(1) - F.one_hot(LABELS, 3))/2)

def test_elr_uses_the_target_that_moved_in_this_step():
    "And says whose target contradicts the label: the network holds sample 2 for class 1"
    method = ELR(trainer(), ELR.Options())
    step = method.step(batch())
    p = clipped(LOGITS)
    assert torch.equal(method.target.values, moved_targets(torch.zeros(2, 3), p, .7))
    expected = torch.tensor(CE) + 3*early_regulariser(p, method.target.values)
    assert step.loss.item() == pytest.approx(expected.mean().item(), abs=1e-6)
    assert step.values["disagrees"].tolist() == [0, 1]

def test_elr_remembers_a_batch_once():
    method = ELR(trainer(), ELR.Options())
    method.step(batch())
    before = method.target.values.clone()
    method.step(batch(again=True))
    assert torch.equal(method.target.values, before)
