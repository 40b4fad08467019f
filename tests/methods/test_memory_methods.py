"""Methods that remember something of each sample. Their formulas on one bench of two samples and three classes, both
with given label 0, by numbers that were computed elsewhere."""
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from noisykit.config import Config
from noisykit.methods.cores import CORES, beta_at, confident_losses, sieve_scores, sieved
from noisykit.methods.elr import ELR, clipped, early_regulariser, moved_targets
from noisykit.methods.sop import SOP, balance, corrected, explained, squared_error
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

# ---- SOP

LABEL = F.one_hot(LABELS, 3).double()
U = torch.tensor([[.5], [0.]], dtype=torch.float64)
V = torch.tensor([[0., .4, 0.], [0., .6, 0.]], dtype=torch.float64)

def sop_on_the_bench(u, v):
    "Cross entropy and squared error [2] each"
    p = LOGITS.softmax(1)
    added, taken = explained(u, v, LABEL)
    return -corrected(p, added, taken)[:, 0].log(), squared_error(p, added, taken, LABEL)

def test_sop_on_the_bench():
    entropy, error = sop_on_the_bench(U, V)
    assert entropy.tolist() == about(.037776, .857732)
    assert error.tolist() == about(.088100, 1.409600)

def test_sop_gradients():
    "u learns from both parts, v from the squared error alone"
    u, v = U.clone().requires_grad_(), V.clone().requires_grad_()
    sum(part.sum() for part in sop_on_the_bench(u, v)).backward()
    assert u.grad.flatten().tolist() == about(.466107, 0)
    assert v.grad.flatten().tolist() == about(0, .256, 0, 0, -1.536, 0)

def test_sop_without_numbers_is_plain_training():
    "And a squared error of 0 where the prediction is the label, else 2; the sign of u and v means nothing"
    entropy, error = sop_on_the_bench(0*U, 0*V)
    assert entropy.tolist() == pytest.approx(CE, abs=1e-6) and error.tolist() == [0, 2]
    for one, other in zip(sop_on_the_bench(U, V), sop_on_the_bench(-U, -V)): assert torch.equal(one, other)
    assert explained(9*torch.ones(2, 1), 9*torch.ones(2, 3), LABEL)[0].max() == 1

def sop(**options):
    method = SOP(trainer(), SOP.Options(**options))
    method.own["u"].set(U.clone())
    method.own["v"].set(V.clone())
    return method

def test_sop_moves_its_numbers_by_their_own_rates():
    "By the slope of the batch's mean loss, once where a step is taken twice"
    method = sop(lr_u=1., lr_v=10.)
    step = method.step(batch())
    expected = torch.tensor([0., .256, 0., 0., -1.536, 0.]).view(2, 3)/2
    assert torch.allclose(method.own["u"].values, U - torch.tensor([[.466107/2], [0.]]), atol=1e-6)
    assert torch.allclose(method.own["v"].values, V - 10*expected)
    assert step.values["explained"].tolist() == about(.25, 0)
    before = method.own["v"].values.clone()
    method.step(batch(again=True))
    assert torch.equal(method.own["v"].values, before)

def test_sop_teaches_the_network_by_the_cross_entropy_alone():
    seen, z = batch(), LOGITS.clone().requires_grad_()
    sop().step(seen).loss.backward()
    added, taken = explained(U, V, LABEL)
    (-corrected(z.softmax(1), added, taken)[:, 0].log()).mean().backward()
    assert torch.allclose(seen.x.grad, z.grad)

def test_sop_starts_near_0_in_full_precision():
    own = SOP(trainer(), SOP.Options()).own
    for numbers in own.values(): assert 0 < numbers.values.abs().max() < 1e-7 and (numbers.values != 0).all()

def test_sop_plus_wants_all_classes_and_an_agreement():
    assert SOP(trainer(), SOP.Options(plus=True)).views_in(1) == ("standard", "autoaugment")
    even, one = torch.full((3, 3), 1/3), torch.eye(3)[[0, 0, 0]]
    assert balance(even, 3).item() == pytest.approx(torch.tensor(3.).log().item())
    assert balance(one, 3) > balance(even, 3)
    plain, same = sop().step(batch()), sop(plus=True).step(batch(more=(LOGITS.clone(),)))
    other = sop(plus=True).step(batch(more=(LOGITS.flip(0),)))
    assert plain.loss < same.loss < other.loss

# ---- CORES

EVEN = torch.full((3,), 1/3, dtype=torch.float64)

def test_cores_on_the_bench():
    log_p = LOGITS.log_softmax(1)
    assert confident_losses(log_p, 2., EVEN)[:, 0].tolist() == about(-3.503179, -1.104019)
    assert confident_losses(log_p, 0., EVEN)[:, 0].tolist() == about(*CE)
    assert sieve_scores(log_p, LABEL).tolist() == about(-1.666667, .100000)

def test_cores_schedule():
    "Of 100 epochs: 0 for ten, in a line to 2 over thirty; the rate is divided by 1 + beta"
    betas = [beta_at(epoch, 100, 2.) for epoch in range(1, 101)]
    assert betas[:11] == [0]*11 and betas[39:] == [2]*61
    assert betas[10:40] == pytest.approx(torch.linspace(0, 2, 30).tolist(), abs=1e-6)
    assert [sieved(epoch, 100) for epoch in (30, 31)] == [False, True]
    method = CORES(trainer(), CORES.Options())
    assert [method.lr_factor(epoch) for epoch in (1, 100)] == [1, 1/3]

def test_cores_without_beta_and_sieve_is_plain_training():
    step = CORES(trainer(), CORES.Options()).step(batch())
    assert step.loss.item() == pytest.approx(sum(CE)/2, abs=1e-6)

def sieving(x=LOGITS, **options):
    "(the method, its step in the last epoch)"
    method = CORES(trainer(), CORES.Options(**options))
    return method, method.step(Batch(rows=torch.arange(2), x=x, y=LABELS, epoch=100, size=2))

def test_cores_leaves_out_what_the_network_finds_unlikely():
    "The mean is that of the kept samples; the next prior is that of the others"
    method, step = sieving(beta=0.)
    assert step.loss.item() == pytest.approx(CE[0], abs=1e-6)
    assert step.values["kept"].tolist() == [1, 0] and step.weights.tolist() == [2, 0]
    assert method.prior.tolist() == [1, 0, 0]
    method.trainer.given = torch.tensor([0, 2])
    method.end_epoch(100)
    assert method.prior.tolist() == [0, 0, 1]

def test_cores_that_keeps_nothing_learns_nothing():
    _, step = sieving(LOGITS[[1, 1]])
    assert step.loss.item() == 0 and step.values["kept"].sum() == 0

def test_cores_loss_of_a_sure_network_ends():
    "Without the floor under probabilities, the reward of certainty has no end, and training breaks down at beta 2"
    sure = torch.tensor([[0., -100., -200.]]).requires_grad_()
    loss = confident_losses(sure.log_softmax(1), 2., EVEN)[0, 0]
    loss.backward()
    assert loss.item() == pytest.approx(2*2/3*torch.tensor(1e-8).log().item()) and sure.grad.abs().max() < 1e-8
