"""Files cut short, a full disk: what a run leaves behind, and that the same command ends it as if nothing had happened. Kills and signals: runs/."""
import os

import numpy as np
import pandas as pd
import pytest
import torch

from conftest import SMALL
from noisykit.record import Run
from noisykit.errors import Refused
from noisykit.run import run_method

TINY = SMALL | dict(method="l2r", probe_size=20, epochs=6)
CUT = dict(data_options=dict(train_size=600))   # epochs of a sixth of a second

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
