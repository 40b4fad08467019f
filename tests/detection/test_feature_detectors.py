"""Detectors of errors, loss curves and features against numbers worked out by hand or by another way."""
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from noisykit.detection.curves import error_norm, in_large_clusters, smoothed
from noisykit.detection.detectors import detect
from noisykit.detection.features import alignment, largest, upper_part, vote_score
from noisykit.errors import sentence
from noisykit.neighbours import nearest, votes
from noisykit.record import Run
from noisykit.run import run_method
from shared import checkpoint, once, one_thread

LOGITS = torch.tensor([[2., 0, -1], [.5, 1.2, .1]], dtype=torch.float64)   # both with given label 0
ZERO = np.zeros(2, int)

def test_el2n_of_two_samples():
    assert error_norm(LOGITS.softmax(1).numpy(), ZERO) == pytest.approx([.198004, .928811], abs=5e-7)

def test_el2n_times_features_is_the_gradient_of_the_last_layer():
    "||dCE/d(weight, bias)|| = EL2N * sqrt(1 + |h|^2); of the bias alone it is EL2N"
    torch.manual_seed(0)
    fc, features = torch.nn.Linear(5, 3, dtype=torch.float64), torch.randn(4, 5, dtype=torch.float64)
    for h, y in zip(features, (0, 2, 1, 0)):
        weight, bias = torch.autograd.grad(F.cross_entropy(fc(h), torch.tensor(y)), fc.parameters())
        el2n, = error_norm(fc(h).softmax(0).detach().numpy()[None], np.array([y]))
        assert float(bias.norm()) == pytest.approx(el2n, rel=1e-12)
        whole = math.sqrt(float(weight.square().sum() + bias.square().sum()))
        assert whole == pytest.approx(el2n*math.sqrt(1 + float(h @ h)), rel=1e-12)

def test_el2n_and_loss_curves_leave_what_they_read():
    probs, loss = LOGITS.softmax(1).numpy(), np.array([[9., 1], [8, .5], [7, .2]])
    kept = probs.copy(), loss.copy()
    error_norm(probs, ZERO)
    smoothed(loss, limit=2., width=1)[:] = 0
    assert (probs == kept[0]).all() and (loss == kept[1]).all()

def test_smoothed_curves():
    loss = np.array([[9.], [1], [1], [4]])
    assert smoothed(loss, limit=4., width=3)[:, 0].tolist() == [2., 2.]
    assert smoothed(loss, limit=9., width=9)[:, 0].tolist() == [3.75]   # fewer epochs than the width

def test_large_clusters():
    curves = np.array([[3., .1, 3.1, .2, 1.5, 1.4], [3, 0, 3, 0, 1.4, 1.5]])
    assert in_large_clusters(curves, 3, 1).tolist() == [True, False, True, False, False, False]
    assert in_large_clusters(curves, 3, 2).tolist() == [True, False, True, False, True, True]
    order = np.array([4, 0, 3, 5, 2, 1])
    assert (in_large_clusters(curves[:, order], 3, 1) == in_large_clusters(curves, 3, 1)[order]).all()
    assert not in_large_clusters(np.ones((2, 5))).any()   # all the same: no cluster is large

# features

CLASS = np.array([[1, 0], [.9, .1], [0, 1]])

def test_fine_of_three_samples():
    assert alignment(CLASS) == pytest.approx([.993884, 1., .110432], abs=5e-7)

def test_fine_takes_the_first_right_singular_vector():
    rows = np.random.default_rng(0).normal(1, 1, (50, 7))
    first = np.linalg.svd(rows)[2][0]
    cosines = np.abs(rows @ first)/np.linalg.norm(rows, axis=1)
    assert alignment(rows) == pytest.approx(cosines, rel=1e-10)
    rows[3] *= 0
    assert alignment(rows)[3] == 0   # no direction, no division by 0

def test_two_parts_of_scores():
    scores = np.r_[np.linspace(.01, .05, 40), np.linspace(.5, .7, 10)]
    assert upper_part(scores).tolist() == [False]*40 + [True]*10
    order = np.random.default_rng(1).permutation(50)
    assert (upper_part(scores[order]) == upper_part(scores)[order]).all()
    assert not upper_part(np.full(5, .3)).any() and not upper_part(np.array([.3])).any()

def test_simifeat_of_votes():
    shares = np.array([[2, 1, 0]])/3
    assert vote_score(shares, [0]) == pytest.approx([.405465], abs=5e-7)
    assert vote_score(shares, [2]) == pytest.approx([18.420681], abs=5e-7)

def test_the_largest_scores_of_a_share():
    scores = np.array([.1, .9, .5, .7, .5])
    assert largest(scores, .4).tolist() == [False, True, False, True, False]
    assert largest(scores, .6).tolist() == [False, True, False, True, False]   # two are the same at the border
    assert not largest(scores, 0.).any() and largest(scores, 1.).all()

def test_neighbours_by_all_cosines():
    features = torch.randn(60, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    near = nearest(features, 4, rows=7)
    cosine = F.cosine_similarity(features[:, None], features[None], dim=2)
    assert torch.equal(near, cosine.topk(4).indices) and torch.equal(near[:, 0], torch.arange(60))
    labels = torch.arange(60) % 3
    counted = [[sum(labels[j] == c for j in row)/4 for c in range(3)] for row in near]
    assert votes(near, labels, 3).tolist() == counted

@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = once(tmp_path_factory, "kept features", train)
    return Run(folder/"run")

SMALL = dict(dataset="digits", data_options=dict(train_size=300, test_size=50), noise="symmetric", noise_rate=.3,
             probe_size=20, model="cnn", epochs=3, batch_size=32, device="cpu", quiet=True)

def train(folder):
    with one_thread(): run_method(method="ce", keep_features=True, run_dir=str(folder/"run"), **SMALL)

def test_features_are_what_enters_the_last_layer(run):
    state = checkpoint(run.folder)["net"]
    logits = torch.from_numpy(run.features) @ state["fc.weight"].T + state["fc.bias"]
    assert run.features.shape == (280, 128) and run.features.dtype == np.float32
    assert (logits.argmax(1).numpy() == run.samples("prediction", "final")).all()
    loss = F.cross_entropy(logits, torch.tensor(run.labels.given.to_numpy()), reduction="none")
    assert loss.numpy() == pytest.approx(run.samples("loss", "final"), rel=1e-4, abs=1e-5)
    assert not run.has("features")   # of no epoch

def test_a_file_of_features_is_another_source(run, tmp_path):
    everything = np.zeros((300, 128), np.float32)
    everything[run.labels["index"]] = run.features
    np.save(tmp_path/"f.npy", everything)
    np.savez(tmp_path/"f.npz", features=everything, other=np.ones(3))
    for name in ("fine", "simifeat"):
        own = detect(run, name)
        for file in ("f.npy", "f.npz"):
            assert detect(run, name, features_file=str(tmp_path/file)).equals(own)

def test_alone_a_sample_agrees_with_itself(run):
    table = detect(run, "simifeat", k=1)
    assert not table.called.any() and (table.score.abs() < 1e-7).all()

def test_rank1_calls_as_many_as_hoc_estimates(run):
    table = detect(run, "simifeat", rule="rank1")
    assert .5 < table.called.sum()/table.flipped.sum() < 1.5 and table.flipped[table.called].mean() > .6

def test_features_that_do_not_fit_are_refused(run, tmp_path):
    def says(array, save=np.save, name="f.npy", **arrays):
        save(tmp_path/name, **arrays) if arrays else save(tmp_path/name, array)
        message = sentence(detect, run, "fine", features_file=str(tmp_path/name))
        assert "\n" not in message
        return message
    assert "each of the 300 images" in says(np.ones((299, 4))) and "each of the 300 images" in says(np.ones(300))
    assert "a row of numbers" in says(np.array([["word"]]*300))
    assert "no finite number" in says(np.full((300, 2), np.nan))
    assert "call the array features" in says(None, np.savez, "f.npz", a=np.ones(2), b=np.ones(2))
    assert "no" in sentence(detect, run, "fine", features_file=str(tmp_path/"none.npy"))
    assert "at least 1" in sentence(detect, run, "simifeat", k=0)
    for options in (dict(rate=.2), dict(rule="rank1", rate=2.)):
        assert "option rate" in sentence(detect, run, "simifeat", **options)

def test_a_run_without_features_says_what_to_do(run, tmp_path):
    with one_thread(): plain = run_method(method="ce", run_dir=str(tmp_path/"plain"), **SMALL | dict(epochs=1))
    for name in ("fine", "simifeat"):
        message = sentence(detect, plain, name)
        assert "keep_features=True" in message and "features_file" in message
