"""Killed, cut short, out of disk, twice at once: what a run leaves behind, and that the same command ends it as if nothing had happened."""
import os, random, signal, subprocess, sys, textwrap, time

import numpy as np
import pandas as pd
import psutil
import pytest
import torch
import yaml

from conftest import ENV, ROOT, SMALL, command, papermill
from noisykit.record import Run
from noisykit.errors import Refused
from noisykit.run import run_method

TINY = SMALL | dict(method="l2r", probe_size=20, epochs=6)
CUT = dict(data_options=dict(train_size=600))   # epochs of a sixth of a second

def start(out, env=None, **params):
    "papermill in the background"
    yaml = "data_options: {train_size: 600}"
    return subprocess.Popen(command("run_method", out, yaml, **params), cwd=ROOT, env=ENV | (env or {}), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

def finish(out, **params): return papermill("run_method", out, "data_options: {train_size: 600}", **params)

def family(p): return [psutil.Process(p.pid), *psutil.Process(p.pid).children(recursive=True)]

def workers(p): return [q for q in family(p) if "spawn_main" in " ".join(q.cmdline())]

def kill(victims):
    "SIGKILL, all at once, and wait until they are gone"
    for q in victims:
        try: q.kill()
        except psutil.NoSuchProcess: pass
    psutil.wait_procs(victims, timeout=20)

def until(condition, p, what, seconds=120):
    end = time.time() + seconds
    while not condition():
        assert p.poll() is None, f"the run ended before {what}: {p.stderr.read()[-2000:]}"
        assert time.time() < end, f"no {what} in {seconds} s"
        time.sleep(.02)

def epochs_done(folder): return len(list((folder/"samples").glob("[0-9]*.npz"))) if folder.exists() else 0

def equal(folder, whole):
    "Metrics and per-sample record are those of the uninterrupted run, to the last bit"
    a, b = Run(folder), Run(whole)
    timing = ["seconds", "seconds_waiting", "seconds_in_sums"]
    pd.testing.assert_frame_equal(a.metrics.drop(columns=timing, errors="ignore"), b.metrics.drop(columns=timing, errors="ignore"), check_exact=True)
    for name in ("loss", "margin", "prediction", "given_prob", "weight", "target", "target_prob"):
        assert a.has(name) == b.has(name) and (not a.has(name) or np.array_equal(a.samples(name), b.samples(name), equal_nan=name.endswith("prob"))), name
    nets = [torch.load(f/"checkpoint.pt", weights_only=True)["net"] for f in (folder, whole)]
    assert all(torch.equal(nets[0][k], nets[1][k]) for k in nets[1])
    assert not list(folder.rglob(".*.tmp*"))

@pytest.fixture(autouse=True)
def one_thread():
    "papermill's processes have one thread; so must runs that are compared with theirs"
    n = torch.get_num_threads(); torch.set_num_threads(1); yield; torch.set_num_threads(n)

def here(folder, **kw): return run_method(run_dir=str(folder), quiet=True, **TINY | CUT | kw)

# ---- killed at any moment

@pytest.mark.parametrize("method, nproc, kills, epochs", [("l2r", 1, 20, 60), ("sln+mo+lc", 2, 8, 24)])
def test_killed_again_and_again(tmp_path, method, nproc, kills, epochs):
    "Every fourth kill falls anywhere in the start, the others within two epochs' time of an epoch's end: while it trains, evaluates or writes"
    params = TINY | dict(method=method, nproc=nproc, epochs=epochs, run_dir=tmp_path/"run")
    rng, startup, seen = random.Random(0), 6., []
    while len(seen) < kills:
        begun, p = time.time(), start(tmp_path/"out.ipynb", **params)
        if len(seen) % 4 == 0: time.sleep(rng.uniform(0, startup))
        else:
            before = epochs_done(tmp_path/"run")
            until(lambda: epochs_done(tmp_path/"run") > before and len(Run(tmp_path/"run").metrics), p, "another epoch")   # samples come before the row
            startup = time.time() - begun
            time.sleep(rng.uniform(0, 2*Run(tmp_path/"run").metrics.seconds.median()))
        assert p.poll() is None, p.stderr.read()[-2000:]
        kill(family(p)); p.wait(); p.stderr.close()
        seen.append(epochs_done(tmp_path/"run"))
    print("epochs written at each kill:", seen)
    assert len(set(seen)) > kills/2 and seen[-1] < epochs   # over its life, and it was not over
    done = finish(tmp_path/"out.ipynb", **params)
    assert done.returncode == 0, done.stderr[-3000:]
    here(tmp_path/"whole", method=method, nproc=nproc, epochs=epochs)
    equal(tmp_path/"run", tmp_path/"whole")

@pytest.mark.parametrize("method, nproc", [("l2r", 1), ("mixup_soft", 2)])   # the second remembers something of each sample
def test_sigterm_saves_in_the_middle_of_an_epoch(tmp_path, method, nproc):
    "A kill of papermill: nothing is left running, and not even the steps of the unfinished epoch are lost"
    params = SMALL | dict(method=method, nproc=nproc, epochs=5, batch_size=4, run_dir=tmp_path/"run")
    p = start(tmp_path/"out.ipynb", **params)
    until(lambda: epochs_done(tmp_path/"run") >= 2, p, "two epochs")
    time.sleep(.2)
    members = family(p)
    p.terminate(); assert p.wait(30) == -signal.SIGTERM
    assert not psutil.wait_procs(members, timeout=30)[1], "processes are left"
    saved = torch.load(tmp_path/"run/checkpoint.pt", weights_only=True)
    steps = len(saved["middle"]["losses"])
    assert 0 < steps < (saved["steps"] - steps)/saved["epoch"] == 138   # steps in a whole epoch
    done = finish(tmp_path/"out.ipynb", **params)
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"step {steps} of the next" in (tmp_path/"out.ipynb").read_text()
    whole = here(tmp_path/"whole", **{k: v for k, v in params.items() if k != "run_dir"})
    if nproc == 1: equal(tmp_path/"run", tmp_path/"whole")
    else:   # running statistics are averaged over processes once more, which rounds
        resumed = Run(tmp_path/"run")
        assert np.allclose(resumed.samples("loss"), whole.samples("loss"), atol=1e-4) and np.array_equal(resumed.samples("prediction"), whole.samples("prediction"))
        assert np.allclose(resumed.metrics.test_loss, whole.metrics.test_loss, rtol=1e-4)

def test_a_signal_to_the_whole_group(tmp_path):
    "As a scheduler or a terminal sends it: the workers that decode images get it too, and stay until the middle of the epoch is saved"
    from PIL import Image
    rng = np.random.default_rng(0)
    for i in range(240):
        (d := tmp_path/f"images/{i % 2}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(d/f"{i}.png")
    kw = dict(method="ce", dataset="imagefolder", data_dir=str(tmp_path/"images"), data_options=dict(image_size=64, workers=2), model="resnet18", epochs=2, batch_size=2, device="cpu", run_dir=str(tmp_path/"run"))
    (tmp_path/"run.yaml").write_text(yaml.safe_dump(kw))
    words = [sys.executable, "-m", "noisykit", str(tmp_path/"run.yaml")]
    p = subprocess.Popen(words, cwd=ROOT, env=ENV, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
    until(lambda: (tmp_path/"run/checkpoint.pt").is_file(), p, "a checkpoint") # of the first epoch
    time.sleep(.5)
    os.killpg(p.pid, signal.SIGTERM)
    said = p.communicate(timeout=60)[0]
    assert p.returncode == 143 and "saved: the same command goes on from there" in said and "Traceback" not in said, said
    assert 0 < len(torch.load(tmp_path/"run/checkpoint.pt", weights_only=True)["middle"]["losses"]) < 96
    assert subprocess.run(words, cwd=ROOT, env=ENV, stdin=subprocess.DEVNULL, capture_output=True).returncode == 0
    assert len(Run(tmp_path/"run").metrics) == 2

# ---- files cut short

def shorten(path, share=.6): path.write_bytes(path.read_bytes()[:int(path.stat().st_size*share)])

@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("finished")/"run"
    return here(folder).folder

@pytest.fixture
def copy(finished, tmp_path):
    import shutil
    return shutil.copytree(finished, tmp_path/"run")

def test_a_checkpoint_cut_short(copy, finished, capsys):
    shorten(copy/"checkpoint.pt")
    here(copy); equal(copy, finished)
    said = capsys.readouterr().out
    assert f"{copy/'checkpoint.pt'} cannot be read" in said and (copy/"checkpoint.pt.unreadable").is_file()

def test_both_checkpoints_cut_short(copy, finished, capsys):
    for n in ("checkpoint.pt", "checkpoint-previous.pt"): shorten(copy/n)
    here(copy); equal(copy, finished)
    assert "training from the first epoch" in capsys.readouterr().out

def test_no_checkpoint_between_two_moves(copy, finished):
    "Killed after the old one was moved and before the new one was there"
    (copy/"checkpoint.pt").unlink()
    here(copy); equal(copy, finished)

@pytest.mark.parametrize("name", ["samples/0006.npz", "metrics.csv"])
def test_a_record_file_cut_short(copy, finished, name, capsys):
    shorten(copy/name, .97)
    if name == "metrics.csv": assert Run(copy).metrics.epoch.tolist() == [1, 2, 3, 4, 5]   # half a line is no row
    else:
        with pytest.raises(OSError, match="0006.npz cannot be read"): Run(copy).samples("loss", 6)
    here(copy); equal(copy, finished)
    assert f"{copy/name} is damaged or missing: going back to make it again" in capsys.readouterr().out

def test_an_old_record_file_cut_short(copy):
    "No checkpoint reaches back: nothing is trained again unasked, and the message says how to"
    shorten(copy/"samples/0002.npz")
    with pytest.raises(Refused, match=r"0002.npz is damaged or missing, and no checkpoint is old enough .* remove checkpoint.pt and checkpoint-previous.pt"): here(copy)
    for n in ("checkpoint.pt", "checkpoint-previous.pt"): (copy/n).unlink()
    here(copy)
    assert Run(copy).samples("loss").shape[0] == 6

def test_a_first_epoch_cut_short(tmp_path):
    here(tmp_path/"whole", epochs=1); here(tmp_path/"run", epochs=1)
    shorten(tmp_path/"run/samples/0001.npz")
    here(tmp_path/"run", epochs=1); equal(tmp_path/"run", tmp_path/"whole")

# ---- no space left

@pytest.mark.parametrize("name", ["checkpoint.pt", "samples/0003.npz", "metrics.csv"])
def test_the_disk_is_full(tmp_path, finished, name, monkeypatch):
    "The file's temporary name leads to /dev/full, so the kernel itself answers ENOSPC, in the third epoch"
    folder = tmp_path/"run"
    def fill(): 
        p = folder/name
        beside = p.with_name(f".{p.name}.{os.getpid()}.tmp{p.suffix}")
        beside.parent.mkdir(exist_ok=True); beside.symlink_to("/dev/full")
    from noisykit.train.trainer import Trainer
    epoch = Trainer.epoch
    def third(self, e, asked):
        if e == 3: fill()
        return epoch(self, e, asked)
    monkeypatch.setattr(Trainer, "epoch", third)
    with pytest.raises(Refused, match="No space left on device"): here(folder)
    assert Run(folder).metrics.epoch.tolist() in ([1, 2], [1, 2, 3]) and torch.load(folder/"checkpoint.pt", weights_only=True)["epoch"] == 2
    assert not list(folder.rglob(".*.tmp*"))
    monkeypatch.undo()
    here(folder); equal(folder, finished)

# ---- errors and deaths in one of the processes

FAULT = """
    from pathlib import Path
    import noisykit.train.trainer as t
    sum_up = t.Epoch.sum_up
    def broken(self, *args):
        if t.rank() == 1 and self.trainer.steps == 25 and not ("{once}" and Path("{once}").exists()):
            if "{once}": Path("{once}").touch()
            raise RuntimeError("a bit flipped")
        return sum_up(self, *args)
    t.Epoch.sum_up = broken
"""

def faulty(tmp_path, once): # environment in which process 1 raises at step 26, once or each time
    (tmp_path/"site").mkdir()
    (tmp_path/"site/sitecustomize.py").write_text(textwrap.dedent(FAULT).format(once=tmp_path/"raised" if once else ""))
    return dict(PYTHONPATH=str(tmp_path/"site"))

def test_an_exception_on_rank_1_is_survived(tmp_path):
    "It happens once: all are started again from the checkpoint, and the run ends as if nothing had happened"
    params = TINY | dict(nproc=2, run_dir=tmp_path/"run")
    p = start(tmp_path/"out.ipynb", faulty(tmp_path, once=True), **params)
    assert p.wait(180) == 0, p.stderr.read()[-3000:]
    assert (tmp_path/"raised").exists()
    text = (tmp_path/"out.ipynb").read_text()
    assert "a process died: all 2 are started again (restart 1 of 3)" in text and "resuming after epoch 2 of 6" in text
    here(tmp_path/"whole", nproc=2); equal(tmp_path/"run", tmp_path/"whole")

def test_an_exception_on_rank_1_that_comes_again(tmp_path):
    "After the last restart it is shown, with the child's traceback; the record so far is kept"
    p = start(tmp_path/"out.ipynb", faulty(tmp_path, once=False), **TINY | dict(nproc=2, restarts=1, run_dir=tmp_path/"run"))
    assert p.wait(180) != 0
    said = p.stderr.read()
    assert said.strip().splitlines()[-1] == "RuntimeError: a bit flipped" and "in process 1:" in said and "in broken" in said
    assert Run(tmp_path/"run").metrics.epoch.tolist() == [1, 2]
    assert "restart 1 of 1" in (tmp_path/"out.ipynb").read_text()

@pytest.mark.parametrize("restarts", [0, 2])
def test_a_worker_that_is_killed(tmp_path, restarts):
    params = TINY | dict(nproc=2, restarts=restarts, epochs=25, run_dir=tmp_path/"run")
    p = start(tmp_path/"out.ipynb", **params)
    until(lambda: epochs_done(tmp_path/"run") >= 3, p, "three epochs")
    workers(p)[-1].kill()
    code, said = p.wait(180), p.stderr.read()
    if restarts == 0:
        assert code != 0 and said.strip().splitlines()[-1].startswith("ChildProcessError: process 1 of this run ") and "out of memory?" in said, said[-2000:]
        assert finish(tmp_path/"out.ipynb", **params).returncode == 0
    else: assert code == 0 and "restart 1 of 2" in (tmp_path/"out.ipynb").read_text(), said[-3000:]
    here(tmp_path/"whole", nproc=2, epochs=25); equal(tmp_path/"run", tmp_path/"whole")

# ---- twice at once

@pytest.mark.parametrize("nproc", [1, 2])
def test_two_runs_on_one_folder(tmp_path, nproc):
    "The second is refused in one sentence and changes nothing; the first goes on"
    params = SMALL | dict(method="l2r", nproc=nproc, epochs=100, run_dir=tmp_path/"run")
    first = start(tmp_path/"first.ipynb", **params)
    until(lambda: epochs_done(tmp_path/"run") >= 1, first, "an epoch")
    second = finish(tmp_path/"second.ipynb", **params)
    assert first.poll() is None, "the first was too quick for this test"
    kill(family(first)); first.stderr.close()
    assert second.returncode != 0
    assert second.stderr.strip().splitlines()[-1] == f"ValueError: run folder {tmp_path/'run'} is in use: another process is writing this run; wait for it, or choose another run_dir"
    assert Run(tmp_path/"run").first_gap()[0] >= 1
