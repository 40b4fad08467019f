"""Killed at any place, the same command ends the run as if nothing had happened, to the last bit. No run is met
somewhere by chance: it is killed in a given step, or while a given file is written or moved (see held.py)."""
import pytest

from cases import COMBINED, METHODS, settings
from conftest import SMALL
from held import Place, forked
from noisykit.record import Run
from shared import assert_same_run

def killed(folder, kw, at, nproc=1, **how):
    "Start, or go on, up to a place"
    place = Place(str(folder), at, do="kill all", **how)
    assert forked(kw | dict(run_dir=str(folder)), place, nproc) == [-9]*nproc, place

def finished_as(whole, folder, kw, nproc=1):
    for run in (folder, whole): assert forked(kw | dict(run_dir=str(run)), nproc=nproc) == [0]*nproc
    assert_same_run(folder, whole)

def epochs(folder): return len(Run(folder).metrics)

# ---- three kills of each kind for every commit

def test_killed_in_a_step_while_writing_and_between_two_files(tmp_path):
    kw = SMALL | dict(method="l2r", epochs=4, probe_size=20, data_options=dict(train_size=600))
    folder = tmp_path/"run"
    killed(folder, kw, "step 5")
    assert epochs(folder) == 0 and not (folder/"checkpoint.pt").exists()
    killed(folder, kw, "checkpoint.pt", when="writing", nth=2)
    assert epochs(folder) == 2 and not (folder/"checkpoint.pt").exists()   # the one of before has moved aside
    killed(folder, kw, "metrics.csv", when="before", nth=2)
    assert epochs(folder) == 2 and (folder/"samples/0003.npz").exists()
    finished_as(tmp_path/"whole", folder, kw)

def test_two_processes_killed(tmp_path):
    kw = SMALL | dict(method="sln+mo+lc", epochs=3, data_options=dict(train_size=600), options=dict(lc_after=1))
    folder = tmp_path/"run"
    killed(folder, kw, "step 15", nproc=2, rank=1)
    assert epochs(folder) == 1
    killed(folder, kw, "checkpoint.pt", nproc=2, when="before")
    assert epochs(folder) == 2 and (folder/"checkpoint-previous.pt").exists() and not (folder/"checkpoint.pt").exists()
    killed(folder, kw, "samples/0003.npz", nproc=2, when="after")
    finished_as(tmp_path/"whole", folder, kw, nproc=2)

# ---- a hundred, over all methods: make test-long

STEPS = 6   # of an epoch of these runs
PLACES = [dict(at="step 3"), dict(at="samples/0001.npz", when="writing"), dict(at="samples/0001.npz", when="after"),
          dict(at="metrics.csv", when="after"), dict(at="checkpoint.pt", when="writing", nth=2),
          dict(at=f"step {STEPS + 4}"), dict(at="checkpoint.pt", when="before"), dict(at="metrics.csv", when="writing")]
OF_TWO = [dict(at="step 4", rank=1), dict(at=f"step {STEPS + 1}", rank=0), dict(at="checkpoint.pt", when="writing")]

@pytest.mark.long
@pytest.mark.parametrize("nproc, places", [(1, PLACES), (2, OF_TWO)], ids=["one process", "two processes"])
@pytest.mark.parametrize("name", [*METHODS, *COMBINED])
def test_killed_again_and_again(name, nproc, places, tmp_path):
    kw, folder = settings(name) | dict(batch_norm="local", precision="float32"), tmp_path/"run"
    for place in places: killed(folder, kw, nproc=nproc, **place)
    finished_as(tmp_path/"whole", folder, kw, nproc)
