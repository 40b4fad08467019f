"""SAM: its numbers by hand, what moves once in a step of two passes, and what it goes with. That it changes no bit
where it goes no way uphill, with every method: contract/test_methods.py."""
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from conftest import SMALL
from noisykit.methods.sam import SAM
from noisykit.run import run_method
from noisykit.train.method import Batch, Step
from shared import checkpoint

A = torch.tensor([1., 10], dtype=torch.float64)

def quadratic_step(rho, size=1.):
    "(theta, the gradient that SAM leaves) after a step of rate .1 on size/2*theta'A theta from (1, 1)"
    theta = nn.Parameter(torch.ones(2, dtype=torch.float64))
    opt = torch.optim.SGD([theta], lr=.1)
    trainer = SimpleNamespace(net=None, networks={}, opt=opt, trained=lambda: [theta])
    def step(batch): return Step(size*(A*theta**2).sum()/2)
    SAM(trainer, SAM.Options(rho)).around(step, Batch(None, theta.detach(), None, epoch=1, size=1))
    gradient = theta.grad.clone()
    assert theta.tolist() == [1, 1]
    opt.step()
    return theta.detach().tolist(), gradient.tolist()

def test_a_quadratic_by_hand():
    theta, gradient = quadratic_step(.05)
    assert gradient == pytest.approx([1.004975, 10.497519], abs=5e-7)
    assert theta == pytest.approx([.899502, -.049752], abs=5e-7)

def test_the_way_uphill_does_not_depend_on_the_size_of_the_gradient():
    assert quadratic_step(.05, 100.)[1] == pytest.approx(100*np.array(quadratic_step(.05)[1]), rel=1e-12)
    assert quadratic_step(0.)[1] == [1, 10]

def train(folder, **settings):
    usual = SMALL | dict(epochs=1, lr=.02, data_options=dict(train_size=300))
    return run_method(quiet=True, run_dir=str(folder), **usual | settings)

def test_running_statistics_move_once_and_the_record_is_of_the_first_pass(tmp_path):
    plain, sam = (train(tmp_path/name, method=name, batch_size=250) for name in ("ce", "ce+sam"))
    one, other = (checkpoint(run.folder)["net"] for run in (plain, sam))   # of a single step
    still = [name for name in one if "running" in name or "tracked" in name]
    assert still and all(one[name].equal(other[name]) for name in still)
    assert not one["fc.weight"].equal(other["fc.weight"])
    assert np.array_equal(plain.samples("loss"), sam.samples("loss"))
    assert sam.metrics.objective[0] > plain.metrics.objective[0]   # uphill

@pytest.mark.parametrize("method", ["l2r+sam", "elr+mo+sam", "l2r+sam+mo+lc", "dividemix+sam"])
def test_goes_with_others(method, tmp_path):
    options = dict(lc_after=1) if "lc" in method else dict(warm_up=1) if "dividemix" in method else None
    run = train(tmp_path/"run", method=method, options=options, epochs=2, probe_size=50 if "l2r" in method else 0)
    assert np.isfinite(run.metrics.objective).all()
