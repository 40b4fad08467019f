"""Methods with two networks: their base, the samples that Co-teaching and JoCoR select, and the noise rate they go by.
Numbers are those of one bench of two samples and three classes, both with given label 0."""
from types import SimpleNamespace
from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from conftest import SMALL
from noisykit.config import Config
from noisykit.errors import Refused
from noisykit.methods import two_networks
from noisykit.methods.coteaching import CoTeaching, left_out, smallest
from noisykit.methods.jocor import JoCoR, divergence
from noisykit.methods.noise_rate import nominal_rate
from noisykit.record import tabulate_runs
from noisykit.run import run_method
from noisykit.train.checkpoint import read_checkpoint
from noisykit.train.method import Batch
from refusals import refused

LABELS = torch.tensor([0, 0])
FIRST = torch.tensor([[2., 0., -1.], [.5, 1.2, .1]], dtype=torch.float64)
SECOND = torch.tensor([[1., 1., 0.], [0., 0., 0.]], dtype=torch.float64)
TINY = SMALL | dict(probe_size=0, lr=.02, data_options=dict(train_size=300), epochs=3)

def train(folder, **settings): return run_method(quiet=True, run_dir=str(folder), **TINY | settings)

class Fixed(nn.Module):
    "A network that says the same logits of whatever it sees"
    def __init__(self, logits):
        super().__init__()
        self.logits = nn.Parameter(logits.clone())

    def forward(self, x): return self.logits

def made(cls, first, second, rate=0., labels=LABELS, **options):
    "A method whose networks say these logits, in an epoch that leaves out all of `rate`, and its step"
    own = SimpleNamespace(nets=(Fixed(first), Fixed(second)))
    trainer = SimpleNamespace(given=labels, device=torch.device("cpu"), config=Config(seed=0, epochs=100))
    def start(self, trainer, given): self.trainer, self.options, self.nets = trainer, given, own.nets
    with mock.patch.object(two_networks.TwoNetworks, "__init__", start):
        method = cls(trainer, cls.Options(ramp=1, rate=rate, **options))
    method.begin_epoch(2)
    batch = Batch(rows=torch.arange(len(labels)), x=first, y=labels, epoch=2, size=len(labels))
    return method, method.step(batch)

@pytest.fixture
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)

# ---- which samples

def test_the_share_that_is_left_out():
    expected = [0, .0444, .0889, .1333, .1778, .2222, .2667, .3111, .3556, .4, .4, .4]
    assert [round(left_out(epoch, .4, 10), 4) for epoch in range(1, 13)] == expected
    assert left_out(1, .4, ramp=1) == .4

CHOSEN = [
    (.5, None, [1, 0, 1, 0]),
    (1., None, [1, 1, 1, 1]),
    (0., None, [1, 0, 0, 0]),                               # at least one
    (.5, [False, True, False, True], [0, 0, 0, 1]),         # half of the candidates
    (.5, [False, False, False, False], [1, 0, 1, 0]),       # no candidate: all are
]

@pytest.mark.parametrize("share, candidate, expected", CHOSEN)
def test_the_smallest_losses(share, candidate, expected):
    candidate = candidate if candidate is None else torch.tensor(candidate)
    chosen, kept = smallest(torch.tensor([.1, .9, .3, .7]), share, candidate)
    assert chosen.tolist() == expected and kept == sum(expected)

# ---- Co-teaching

WIDE = torch.randn(8, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
OTHER = torch.randn(8, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
ZEROS = torch.zeros(8, dtype=torch.int64)

def gradients(method, step):
    step.loss.backward()
    return [net.logits.grad for net in method.nets]

def test_each_network_learns_what_the_other_picks(double):
    method, step = made(CoTeaching, WIDE, OTHER, rate=.5, labels=ZEROS)
    picks = [F.cross_entropy(z, ZEROS, reduction="none").argsort()[:4] for z in (WIDE, OTHER)]
    for grad, pick in zip(gradients(method, step), reversed(picks)):
        assert grad.abs().sum(1).nonzero()[:, 0].tolist() == sorted(pick.tolist())
    means = [F.cross_entropy(z[pick], ZEROS[:4]) for z, pick in zip((WIDE, OTHER), reversed(picks))]
    assert step.loss.item() == pytest.approx(sum(means).item(), abs=1e-12)
    together = torch.zeros(8).index_add(0, torch.cat(picks), torch.full((8,), .5))
    assert torch.equal(step.values["selected"], together)

def test_networks_that_swap_places_swap_their_losses(double):
    one, two = (gradients(*made(CoTeaching, *nets, rate=.5, labels=ZEROS)) for nets in ((WIDE, OTHER), (OTHER, WIDE)))
    assert torch.equal(one[0], two[1]) and torch.equal(one[1], two[0])

def test_equal_networks_stay_equal(double):
    first, second = gradients(*made(CoTeaching, WIDE, WIDE, rate=.5, labels=ZEROS))
    assert torch.equal(first, second)
    assert set(made(CoTeaching, WIDE, WIDE, rate=.5, labels=ZEROS)[1].values["selected"].tolist()) == {0, 1}

def test_plus_picks_where_the_networks_disagree(double):
    method, step = made(CoTeaching, WIDE, OTHER, rate=.5, labels=ZEROS, disagree=True)
    differ = WIDE.argmax(1) != OTHER.argmax(1)
    assert 0 < differ.sum() < 8 and not step.values["selected"][~differ].any() and step.values["selected"].any()
    both = made(CoTeaching, WIDE, WIDE, rate=.5, labels=ZEROS, disagree=True)[1]
    assert both.values["selected"].sum() == 4   # no sample on which they disagree: all are candidates

def test_without_noise_it_is_plain_training_twice(tmp_path):
    "To the last bit, for both networks"
    run = train(tmp_path/"two", method="coteaching", options=dict(rate=0.))
    plain = train(tmp_path/"ce", method="ce")
    first, state = read_checkpoint(plain)["net"], read_checkpoint(run)
    assert all(torch.equal(state["net"][name], first[name]) for name in first)
    starts, own = [], two_networks.create_second
    def seen(*given): return starts.append(own(*given).state_dict()) or own(*given)
    with mock.patch.object(two_networks, "create_second", seen):
        train(tmp_path/"start", method="coteaching", epochs=1)
    def elsewhere(self, *given):
        init(self, *given)
        self.net.load_state_dict(starts[0])
    from noisykit.train.trainer import Training
    init = Training.__init__
    with mock.patch.object(Training, "__init__", elsewhere): second = train(tmp_path/"second", method="ce")
    second = read_checkpoint(second)["net"]
    assert all(torch.equal(state["parts"][0]["net"][name], second[name]) for name in second)

# ---- JoCoR

def test_jocor_on_the_bench(double):
    _, step = made(JoCoR, FIRST, SECOND)
    joint = .1*sum(F.cross_entropy(z, LABELS, reduction="none") for z in (FIRST, SECOND)) + .9*divergence(FIRST, SECOND)
    assert joint.tolist() == pytest.approx([.861841, .429125], abs=1e-6)
    assert step.loss.item() == pytest.approx(joint.mean().item(), abs=1e-12)
    _, half = made(JoCoR, FIRST, SECOND, rate=.5)
    assert half.loss.item() == pytest.approx(.429125, abs=1e-6) and half.values["selected"].tolist() == [0, 1]

def test_jocor_without_agreement_couples_nothing(double):
    method, step = made(JoCoR, FIRST, SECOND, agreement=0.)
    means = [F.cross_entropy(z, LABELS) for z in (FIRST, SECOND)]
    assert step.loss.item() == pytest.approx(sum(means).item(), abs=1e-12)
    for grad, z in zip(gradients(method, step), (FIRST, SECOND)):
        assert torch.allclose(grad, (z.softmax(1) - F.one_hot(LABELS, 3))/2, atol=1e-15)

def test_networks_that_agree_have_no_divergence(double):
    z, same = FIRST.clone().requires_grad_(), FIRST.clone().requires_grad_()
    apart = divergence(z, same)
    apart.sum().backward()
    assert not apart.any() and not z.grad.any() and not same.grad.any()

# ---- the noise rate

def test_the_rate_that_is_used(tmp_path):
    "Estimated unless something else is asked for; a rate that the run knows is marked in tables"
    options = dict(estimated={}, given=dict(rate=.25), known=dict(rate="nominal"))
    runs = {name: train(tmp_path/name, method="coteaching", noise_rate=.2, options=o) for name, o in options.items()}
    used = {name: run.metrics.rate_used.tolist() for name, run in runs.items()}
    assert used["given"] == [.25]*3 and used["known"] == [.2]*3
    assert used["estimated"][0] == 0 and 0 < used["estimated"][1] < 1 and used["estimated"][1] not in (.2, .25)
    assert runs["estimated"].config["options"]["rate"] == "mixture"
    assert tabulate_runs(runs.values()).knows_rate.tolist() == [False, False, True]

NOMINAL = [
    (dict(noise="symmetric", noise_rate=.2), .2),
    (dict(noise="none"), 0),
    (dict(noise_file="labels.csv"), None),
]

@pytest.mark.parametrize("settings, rate", NOMINAL)
def test_the_nominal_rate(settings, rate): assert nominal_rate(Config(**settings)) == rate

REFUSED = [
    (dict(rate=1.), "option rate is 1.0; a number from 0 to below 1, 'mixture' or 'nominal'"),
    (dict(rate="estimated"), "option rate is 'estimated'"),
    (dict(ramp=0), "coteaching option ramp is 0"),
]

@pytest.mark.parametrize("options, said", REFUSED)
def test_refusals(tmp_path, options, said):
    with refused(text=said, kinds=Refused): train(tmp_path/"run", method="coteaching", options=options)
    assert not (tmp_path/"run").exists()
