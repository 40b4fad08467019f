"""Several processes are one: every method, and options that change what processes tell each other. The same
two processes train all the runs, see cases.py."""
from functools import partial

import numpy as np
import pytest

from cases import CASES, EVERY, SINGLE, VARIANTS, in_one_process, in_two_processes
from noisykit.record import Run
from shared import TIMES, arrays, checkpoint, distances

@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    "case -> folder of its run in one process"
    return partial(in_one_process, tmp_path_factory)

@pytest.fixture(scope="module")
def pairs(tmp_path_factory, request):
    "case -> folder of its run in two processes; the same two processes train all that the chosen tests need"
    needed = set()
    for item in request.session.items:
        if "pairs" in item.fixturenames: needed.update(item.callspec.params.values())
    cases = [case for case in EVERY if case in needed]
    return partial(in_two_processes, tmp_path_factory, cases)

def metrics(folder): return Run(folder).metrics.drop(columns=TIMES, errors="ignore")

def assert_close(a, b, **tolerance):
    "Two records, up to rounding"
    assert a.keys() == b.keys()
    for place in a:
        half = dict(atol=1e-3) if a[place].dtype == np.float16 else {}
        assert np.allclose(a[place], b[place], **tolerance | half), place

@pytest.mark.parametrize("case", [*CASES, *VARIANTS])
def test_two_processes_are_one(case, whole, pairs):
    one, two = whole(case), pairs(case)
    apart = distances(checkpoint(two), checkpoint(one))
    assert {k: v for k, v in apart.items() if v > 1e-10} == {}
    assert_close(arrays(one), arrays(two), rtol=1e-5, atol=1e-6)
    a, b = metrics(one), metrics(two)
    assert a.columns.equals(b.columns) and np.allclose(a, b, rtol=1e-6, atol=1e-9, equal_nan=True)

@pytest.mark.parametrize("case", SINGLE)
def test_so_they_are_up_to_rounding(case, whole, pairs):
    "In float32"
    one, two = whole(case), pairs(case)
    apart = distances(checkpoint(two)["net"], checkpoint(one)["net"])
    assert {k: v for k, v in apart.items() if v > 1e-4} == {}
    assert (Run(one).samples("prediction") == Run(two).samples("prediction")).mean() > .999
    def kept(folder): return {place: array for place, array in arrays(folder).items() if place[1] in ("loss", "weight")}
    assert_close(kept(one), kept(two), rtol=1e-3, atol=1e-3)
    a, b = metrics(one).iloc[-1], metrics(two).iloc[-1]
    assert b.test_accuracy == pytest.approx(a.test_accuracy, abs=.01)
    assert b.objective == pytest.approx(a.objective, rel=1e-3)

@pytest.mark.parametrize("local, usual", [("l2r, local weights", "l2r, frozen")])
def test_weights_of_each_process_by_itself(local, usual, whole, pairs):
    "L2R's local form is something else: weights sum to 1 in every process; in one process it is the same thing"
    apart = distances(checkpoint(pairs(local))["net"], checkpoint(pairs(usual))["net"])
    assert max(apart.values()) > 1e-3
    assert Run(pairs(local)).samples("weight").mean() == pytest.approx(1, abs=.01)
    assert not any(distances(checkpoint(whole(local))["net"], checkpoint(whole(usual))["net"]).values())
