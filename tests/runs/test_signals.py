"""Told to stop, broken or in the way of each other, in one process and in two: what is said, what is saved, and that
the same command ends the run. Each run is held where the test needs it (see held.py)."""
import os
import signal
import subprocess
import sys

import numpy as np
import psutil
import pytest
import yaml
from PIL import Image

import held
from conftest import ENV, ROOT, SMALL, command, papermill
from forks import Command
from held import PATIENCE, Place, family, forked, kernels, until
from noisykit.record import Run
from shared import assert_same_run, checkpoint, once

TINY = SMALL | dict(probe_size=20, epochs=3, data_options=dict(train_size=600))   # 10 steps an epoch
L2R = TINY | dict(method="l2r")

def as_yaml(kw): return yaml.safe_dump({k: v for k, v in kw.items() if isinstance(v, dict)})

def plain(kw): return {k: v for k, v in kw.items() if not isinstance(v, dict)}

def start_papermill(out, kw, place):
    "papermill on these settings, up to a place"
    words = command("run_method", out, as_yaml(kw), **plain(kw))
    env = ENV | place.env | kernels(place.signs/"ipython")
    return subprocess.Popen(words, cwd=ROOT, env=env, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                            stderr=subprocess.PIPE)

def start(kw, place):
    "`python -m noisykit` on these settings, up to a place"
    file = place.signs/"settings.yaml"
    file.write_text(yaml.safe_dump(kw))
    return Command(place.signs/"said", held.command, file, place)

@pytest.fixture
def whole(tmp_path_factory):
    "(settings, number of processes) -> folder of the run that nothing happened to"
    def folder_of(kw, nproc=1):
        def train(folder): assert forked(kw | dict(run_dir=str(folder/"run")), nproc=nproc) == [0]*nproc
        return once(tmp_path_factory, f"undisturbed {kw['method']} {nproc}", train)/"run"
    return folder_of

# ---- told to stop

@pytest.mark.parametrize("method, nproc", [("l2r", 1), ("mixup_soft", 2)])
def test_papermill_is_told_to_stop(tmp_path, whole, method, nproc):
    """Nothing is left running, and not even the steps of the unfinished epoch are lost; the second method remembers
    something of each sample"""
    folder, out = tmp_path/"run", tmp_path/"out.ipynb"
    kw = TINY | dict(method=method)
    mine = kw | dict(run_dir=str(folder), nproc=nproc)
    place = Place(str(folder), "step 14")
    process = start_papermill(out, mine, place)
    for rank in range(nproc): until(lambda: place.reached(rank), process, "step 14")
    members = family(process)
    process.terminate()
    assert process.wait(PATIENCE) == -signal.SIGTERM
    assert not psutil.wait_procs(members[1:], timeout=PATIENCE)[1], "processes are left"
    saved = checkpoint(folder)
    assert (saved["epoch"], saved["steps"], len(saved["middle"]["losses"])) == (1, 14, 4)
    done = papermill("run_method", out, as_yaml(mine), **plain(mine))
    assert done.returncode == 0, done.stderr[-3000:]
    assert "step 4 of the next" in done.stdout + out.read_text()   # what a launched process says is in no cell here
    if nproc == 1: return assert_same_run(folder, whole(kw))
    a, b = Run(folder), Run(whole(kw, nproc))   # running statistics were averaged once more, which rounds
    assert np.allclose(a.samples("loss"), b.samples("loss"), atol=1e-4)
    assert np.array_equal(a.samples("prediction"), b.samples("prediction"))
    assert np.allclose(a.metrics.test_loss, b.metrics.test_loss, rtol=1e-4)

def test_a_signal_to_the_whole_group(tmp_path):
    """As a scheduler or a terminal sends it: the workers that decode images get it too, and stay until the middle of
    the epoch is saved"""
    pixels = np.random.default_rng(0).integers(0, 255, (60, 32, 32, 3), dtype=np.uint8)
    for i, image in enumerate(pixels):
        (tmp_path/f"images/{i % 2}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path/f"images/{i % 2}/{i}.png")
    folder = tmp_path/"run"
    kw = dict(method="ce", dataset="imagefolder", data_dir=str(tmp_path/"images"), model="cnn", batch_size=4, epochs=2,
              data_options=dict(image_size=32, workers=2), device="cpu", run_dir=str(folder))
    place = Place(str(folder), "step 17")   # of 12 an epoch
    process = start(kw, place)
    until(place.reached, process, "step 17")
    os.killpg(process.pid, signal.SIGTERM)
    code, said = process.wait(PATIENCE), process.said.read_text()
    assert code == 143 and "Traceback" not in said, said
    assert "stopped after step 5 of 12 of epoch 2, and saved: the same command goes on from there" in said
    assert len(checkpoint(folder)["middle"]["losses"]) == 5
    assert forked(kw) == [0] and len(Run(folder).metrics) == 2

# ---- errors and deaths in one of the processes

def test_an_exception_in_a_process_is_survived(tmp_path, whole):
    "It happens once: all are started again from the checkpoint, and the run ends as if nothing had happened"
    folder = tmp_path/"run"
    place = Place(str(folder), "step 25", do="raise", rank=1, once=True)
    process = start(L2R | dict(nproc=2, run_dir=str(folder)), place)
    code, said = process.wait(PATIENCE), process.said.read_text()
    assert code == 0, said[-3000:]
    assert place.reached(1)
    assert "a process died: all 2 are started again (restart 1 of 3)" in said and "resuming after epoch 2 of 3" in said
    assert_same_run(folder, whole(L2R, 2))

def test_an_exception_that_comes_again(tmp_path):
    "After the last restart it is shown, with the child's traceback; the record so far is kept"
    folder = tmp_path/"run"
    place = Place(str(folder), "step 25", do="raise", rank=1)
    process = start(L2R | dict(nproc=2, restarts=1, run_dir=str(folder)), place)
    code, said = process.wait(PATIENCE), process.said.read_text()
    assert code != 0 and "restart 1 of 1" in said
    assert "RuntimeError: a bit flipped" in said.splitlines() and "in process 1:" in said, said[-2000:]
    assert Run(folder).metrics.epoch.tolist() == [1, 2]

@pytest.mark.parametrize("restarts", [0, 2])
def test_a_process_that_is_killed(tmp_path, whole, restarts):
    folder = tmp_path/"run"
    place = Place(str(folder), "step 25", do="kill", rank=1, once=True)
    process = start(L2R | dict(nproc=2, restarts=restarts, run_dir=str(folder)), place)
    code, said = process.wait(PATIENCE), process.said.read_text()
    if restarts: assert code == 0 and "restart 1 of 2" in said, said
    else:
        assert code != 0 and "out of memory?" in said
        assert "\nChildProcessError: process 1 of this run " in f"\n{said}", said[-2000:]
        assert forked(L2R | dict(run_dir=str(folder)), nproc=2) == [0, 0]
    assert_same_run(folder, whole(L2R, 2))

# ---- twice at once

@pytest.mark.parametrize("nproc", [1, 2])
def test_two_runs_on_one_folder(tmp_path, whole, nproc):
    "The second is refused in one sentence and changes nothing; the first goes on"
    folder = tmp_path/"run"
    place = Place(str(folder), "step 14")
    first = start(L2R | dict(nproc=nproc, run_dir=str(folder)), place)
    until(place.reached, first, "step 14")
    words = [sys.executable, "-m", "noisykit", str(tmp_path/"settings.yaml")]
    second = subprocess.run(words, cwd=ROOT, env=ENV, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert first.poll() is None and second.returncode != 0
    assert second.stderr.strip().splitlines()[-1] == (f"ValueError: run folder {folder} is in use: another process is "
                                                      "writing this run; wait for it, or choose another run_dir")
    place.go()
    assert first.wait(PATIENCE) == 0, first.said.read_text()
    assert_same_run(folder, whole(L2R, nproc))
