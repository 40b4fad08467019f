"""Losses that know a transition matrix, and estimates of it: the numbers of each formula, and what wrong matrices and
runs are told. The bench is two samples of given label 0 and three classes."""
import numpy as np
import pytest
import torch

from conftest import SMALL
from noisykit.config import Config
from noisykit.data.noise import make_noise
from noisykit.detection.transition import (anchor_T, anchors, confident_T, count_T, dual_T, estimate_T, fit_T, hoc_T,
                                           label_shares, neighbour_labels, shares_loss, shares_of)
from noisykit.errors import Refused
from noisykit.methods.forward_backward import (backward_losses, forward_losses, read_matrix,
                                               settings_before)
from noisykit.methods.volminnet import learned_matrix, start_of
from noisykit.run import run_method
from refusals import refused
from shared import checkpoint

LOG_P = torch.tensor([[2., 0., -1.], [.5, 1.2, .1]], dtype=torch.float64).log_softmax(1)
T = torch.tensor([[.8, .1, .1], [.2, .7, .1], [0, .3, .7]], dtype=torch.float64)
SYMMETRIC = torch.from_numpy(make_noise(np.arange(30) % 3, 3, "symmetric", .4).matrix)
TRUE_T = np.array([[.7, .2, .1], [.1, .8, .1], [.1, .2, .7]])

# ---- losses

@pytest.mark.parametrize("losses, matrix, expected", [
    (forward_losses, T, (.359716, 1.119408)), (forward_losses, SYMMETRIC, (.620793, 1.175789)),
    (backward_losses, T.inverse(), (-.552376, 1.315130)),
    (forward_losses, torch.eye(3).double(), (.169846, 1.304019)),
    (backward_losses, torch.eye(3).double(), (.169846, 1.304019))])
def test_losses_on_the_bench(losses, matrix, expected):
    assert losses(LOG_P, matrix)[:, 0].tolist() == pytest.approx(expected, abs=1e-6)

def test_backward_is_unbiased():
    "Averaged over the given labels of a true class, it is the loss against that class"
    assert torch.allclose(backward_losses(LOG_P, T.inverse())@T.T, -LOG_P, atol=1e-12)

def test_forward_gradient():
    z = LOG_P.clone().requires_grad_()
    forward_losses(z.log_softmax(1), T)[:, 0].sum().backward()
    p = LOG_P.exp()
    assert torch.allclose(z.grad, p*(1 - T[:, 0]/(p@T)[:, :1]), atol=1e-12)

def test_forward_of_what_cannot_be():
    "A label that the matrix rules out has a large loss, and a gradient that is a number"
    z = torch.tensor([[100., 0., 0.]], requires_grad=True)
    never = torch.tensor([[1., 0., 0.], [0., 1., 0.], [0., 0., 1.]])
    loss = forward_losses(z.log_softmax(1), never)[0, 1]
    loss.backward()
    assert 50 < loss.item() < 120 and torch.isfinite(z.grad).all()

# ---- VolMinNet

@pytest.mark.parametrize("C, w, diagonal, volume", [
    (10, -2., .482433, -7.7026), (100, -4.5, .478994, -73.9643), (3, -2., .807490, -.681506)])
def test_where_the_learned_matrix_begins(C, w, diagonal, volume):
    start = learned_matrix(torch.full((C, C), w, dtype=torch.float64))
    assert start.diagonal().tolist() == pytest.approx([diagonal]*C, abs=1e-6)
    assert start.logdet().item() == pytest.approx(volume, abs=1e-4)
    assert start_of(C) == pytest.approx(w, abs=.02)

def test_the_slope_of_the_volume():
    "d log det/dT = T^-T"
    matrix = T.clone().requires_grad_()
    matrix.logdet().backward()
    assert torch.allclose(matrix.grad, T.inverse().T)

def test_a_matrix_without_mass_off_the_diagonal_is_plain_training():
    identity = learned_matrix(torch.full((3, 3), -80., dtype=torch.float64))
    assert torch.allclose(forward_losses(LOG_P, identity), -LOG_P)

def test_the_matrix_is_learned_without_weight_decay(tmp_path):
    "In a group of its own; after a while it is nearer to the truth than where it began"
    run = train(tmp_path/"run", method="volminnet", options=dict(T_lr=.1), probe_size=0, epochs=12, noise_rate=.4,
                weight_decay=.01)
    state = checkpoint(run.folder)
    groups, own = state["opt"]["param_groups"], state["parts"][0]
    assert [group["weight_decay"] for group in groups] == [.01, 0]
    assert torch.allclose(learned_matrix(own["w"]), own["T"])
    assert run.metrics.T_error.iloc[-1] < run.metrics.T_error.iloc[0]

# ---- estimates

def test_anchors_return_the_matrix():
    exact = np.eye(3)[np.arange(300) % 3]@TRUE_T
    assert np.abs(anchor_T(exact) - TRUE_T).max() < 1e-15
    assert np.abs(anchor_T(exact, 97.) - TRUE_T).max() < 1e-15   # a third of them are as sure as each other

def test_anchors_pass_over_the_surest_and_leave_the_probabilities():
    "One sample is of no use as an anchor: it is the surest of all classes in turn"
    probs = np.random.default_rng(0).dirichlet(np.ones(3), 1000)
    before = probs.copy()
    chosen = anchors(probs, 97.)
    assert np.array_equal(probs, before)
    rank = (probs > probs[chosen, range(3)]).sum(0)
    assert rank.tolist() == [30, 30, 30]
    assert anchors(probs).tolist() == probs.argmax(0).tolist()

def test_dual_T():
    counts = np.array([[8, 1, 1], [1, 8, 1], [0, 2, 8]])
    prediction, given = np.repeat(np.repeat(range(3), 3), counts.ravel()), np.repeat(list(range(3))*3, counts.ravel())
    expected = [[.58, .25, .17], [.16, .67, .17], [.10, .31, .59]]
    assert np.allclose(TRUE_T@count_T(prediction, given, 3), expected)

def test_a_class_that_is_never_predicted_leaves_no_gap():
    probs, given = np.array([[.8, .1, .1], [.6, .3, .1], [.2, .7, .1]]), np.array([0, 1, 1])
    assert np.allclose(dual_T(probs, given).sum(1), 1)
    assert np.isfinite(dual_T(probs, given)).all()

def test_confident_joint_of_a_perfect_network():
    true = np.repeat(range(3), 1000)
    noise = make_noise(true, 3, "matrix", 1., matrix=TRUE_T.tolist())
    realised = count_T(true, noise.given, 3)
    assert np.allclose(confident_T(np.eye(3)[true], noise.given), realised)

# ---- HOC

def test_hoc_explains_exact_shares():
    prior = torch.tensor([.5, .3, .2], dtype=torch.float64)
    shares = shares_of(torch.from_numpy(TRUE_T), prior)
    assert shares_loss(torch.from_numpy(TRUE_T), prior, shares) == 0
    found, found_prior = fit_T(shares)
    assert np.abs(found - TRUE_T).max() < .03
    assert np.abs(found_prior - prior.numpy()).max() < .03

def test_shares_of_labels():
    first, second, third = label_shares(np.array([[0, 1, 1], [0, 0, 1]]), 2)
    assert first.tolist() == [1, 0]
    assert second.tolist() == [[.5, .5], [0, 0]]
    assert third[0].tolist() == [[0, .5], [0, .5]]

def test_neighbours_are_others():
    "The scale of features does not matter; a sample is not its own neighbour"
    features = np.array([[1, 0], [2, .1], [3, -.1], [0, 1], [.1, 2], [-.1, 3]])
    triples = neighbour_labels(features, np.arange(6), points=6)
    assert sorted(triples[:, 0]) == [*range(6)]
    for triple in triples: assert sorted(triple) in ([0, 1, 2], [3, 4, 5])

def test_hoc_from_clusters():
    random = np.random.default_rng(0)
    true = random.integers(0, 3, 3000)
    features = np.eye(3)[true] + .1*random.normal(size=(3000, 3))
    given = make_noise(true, 3, "matrix", 1., matrix=TRUE_T.tolist()).given
    found, prior, error = hoc_T(features, given, 3, draws=2)
    assert np.abs(found - TRUE_T).max() < .06
    assert np.abs(prior - 1/3).max() < .05
    assert error.shape == (3, 3) and (error < .05).all()

# ---- in runs

def train(folder, **settings): return run_method(quiet=True, run_dir=str(folder), **SMALL | dict(lr=.02) | settings)

@pytest.fixture(scope="module")
def before(tmp_path_factory):
    "A run that kept its probabilities"
    return train(tmp_path_factory.mktemp("before")/"run", method="ce", probe_size=0, keep_probs=True)

def test_estimates_of_a_run(before):
    for how in ("anchor", "dual"):
        found, error = estimate_T(before, how, draws=5)
        assert found.shape == error.shape == (10, 10)
        assert np.allclose(found.sum(1), 1) and (error >= 0).all()
    assert np.array_equal(estimate_T(before, draws=5)[1], estimate_T(before, draws=5)[1])
    assert np.isnan(estimate_T(before, draws=0)[1]).all()

def test_the_matrix_that_is_used(before, tmp_path):
    "Known, given in a file, and read from a named run; the record says which, and how far it is from the truth"
    nominal = np.array(before.data["matrix"])
    np.savetxt(tmp_path/"T.csv", nominal, delimiter=",")
    named = dict(T="anchor", T_run=str(before.folder), percentile=None)
    cases = {"known": (dict(T="known"), nominal), "file": (dict(T=str(tmp_path/"T.csv")), nominal),
             "named": (named, estimate_T(before, "anchor", None, draws=0)[0])}
    for name, (options, expected) in cases.items():
        run = train(tmp_path/name, method="forward", options=options, probe_size=0, val_share=.1)
        assert np.allclose(checkpoint(run.folder)["parts"][0]["T"], expected, atol=1e-6)
        assert run.config["options"]["T"] == options["T"]
        assert run.metrics.T_error.iloc[-1] == pytest.approx(np.abs(expected - nominal).sum(1).mean()/2, abs=1e-6)
        assert not np.isclose(run.metrics.valid_loss_T, run.metrics.valid_loss).any()

def test_the_run_before_has_the_same_labels_and_few_epochs():
    config = Config(method="forward", noise="symmetric", noise_rate=.4, epochs=120, options=dict(T="dual"))
    settings = settings_before(config)
    assert settings.items() >= dict(method="ce", noise="symmetric", noise_rate=.4, epochs=12, keep_probs=True).items()
    assert settings_before(Config(epochs=3))["epochs"] == 3

REFUSED = [
    (dict(T=[[1., 0.], [0., 1.]]), "a transition matrix of 10 classes has 10 rows"),
    (dict(T=(np.eye(10)*2).tolist()), "that sum to 1"),
    (dict(T="no_such.csv"), "and there is no such file"),
    (dict(T_run="no_such_run"), "no_such_run holds no run"),
    (dict(percentile=100.), "option percentile is 100.0"),
]

@pytest.mark.parametrize("options, said", REFUSED, ids=str)
def test_refusals(tmp_path, options, said):
    with refused(text=said, kinds=Refused): train(tmp_path/"run", method="forward", options=options)
    assert not (tmp_path/"run").exists()

def test_backward_needs_an_inverse(tmp_path):
    even = (np.ones((10, 10))/10).tolist()
    with refused(text="needs the inverse of the transition matrix", kinds=Refused):
        train(tmp_path/"run", method="backward", options=dict(T=even))

def test_a_run_without_probabilities_is_refused(tmp_path):
    bare = train(tmp_path/"bare", method="ce", probe_size=0)
    with refused(text="has not kept the final probabilities of all classes", kinds=Refused):
        train(tmp_path/"run", method="forward", options=dict(T_run=str(bare.folder)), probe_size=0)

@pytest.mark.parametrize("given, shape", [([[.5, .5], [1., 0.]], (2, 2)), ([[1., 0.], [1e-5, 1.]], (2, 2))])
def test_read_matrix(given, shape):
    found = read_matrix(given, 2)
    assert found.shape == shape and np.allclose(found.sum(1), 1, atol=1e-15)
