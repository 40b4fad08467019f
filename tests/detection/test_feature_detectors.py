"""Detectors of errors, loss curves and features against numbers worked out by hand or by another way."""
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from noisykit.detection.curves import error_norm, in_large_clusters, smoothed

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
