"""Files cut short, a full disk: what a run leaves behind, and that the same command ends it as if nothing had happened.
Kills are in test_kills.py, signals in test_signals.py."""
import os
import shutil
from pathlib import Path

import pytest

import shared
from conftest import SMALL
from noisykit.errors import Refused
from noisykit.record import Run
from noisykit.run import run_method
from noisykit.train.trainer import Trainer
from shared import assert_same_run, checkpoint

EPOCHS = 6
TINY = SMALL | dict(method="l2r", probe_size=20, epochs=EPOCHS, data_options=dict(train_size=300))
NEWEST, PREVIOUS = "checkpoint.pt", "checkpoint-previous.pt"

@pytest.fixture(autouse=True)
def one_thread():
    with shared.one_thread(): yield

def train(folder, **kw): return run_method(run_dir=str(folder), quiet=True, **TINY | kw)

def shorten(path, share=.6): path.write_bytes(path.read_bytes()[:int(path.stat().st_size*share)])

@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    with shared.one_thread(): return train(tmp_path_factory.mktemp("finished")/"run").folder

@pytest.fixture
def copy(finished, tmp_path): return Path(shutil.copytree(finished, tmp_path/"run"))

# ---- files cut short

def test_a_checkpoint_cut_short(copy, finished, capsys):
    shorten(copy/NEWEST)
    train(copy)
    assert_same_run(copy, finished)
    assert f"{copy/NEWEST} cannot be read" in capsys.readouterr().out
    assert (copy/f"{NEWEST}.unreadable").is_file()

def test_both_checkpoints_cut_short(copy, finished, capsys):
    for name in (NEWEST, PREVIOUS): shorten(copy/name)
    train(copy)
    assert_same_run(copy, finished)
    assert "training from the first epoch" in capsys.readouterr().out

def test_no_checkpoint_between_two_moves(copy, finished):
    "Killed after the old one was moved and before the new one was there"
    (copy/NEWEST).unlink()
    train(copy)
    assert_same_run(copy, finished)

@pytest.mark.parametrize("name", [f"samples/{EPOCHS:04}.npz", "metrics.csv"])
def test_a_record_file_cut_short(copy, finished, name, capsys):
    shorten(copy/name, .97)
    if name == "metrics.csv":
        assert Run(copy).metrics.epoch.tolist() == [*range(1, EPOCHS)]   # half a line is no row
    else:
        with pytest.raises(OSError, match=f"{Path(name).name} cannot be read"): Run(copy).samples("loss", EPOCHS)
    train(copy)
    assert_same_run(copy, finished)
    said = f"{copy/name} is damaged or missing: going back to make it again"
    assert said in capsys.readouterr().out

def test_an_old_record_file_cut_short(copy):
    "No checkpoint reaches back: nothing is trained again unasked, and the message says how to"
    shorten(copy/"samples/0002.npz")
    said = f"0002.npz is damaged or missing, and no checkpoint is old enough .* remove {NEWEST} and {PREVIOUS}"
    with pytest.raises(Refused, match=said): train(copy)
    for name in (NEWEST, PREVIOUS): (copy/name).unlink()
    train(copy)
    assert Run(copy).samples("loss").shape[0] == EPOCHS

def test_a_first_epoch_cut_short(tmp_path):
    for name in ("whole", "run"): train(tmp_path/name, epochs=1)
    shorten(tmp_path/"run/samples/0001.npz")
    train(tmp_path/"run", epochs=1)
    assert_same_run(tmp_path/"run", tmp_path/"whole")

# ---- no space left

@pytest.mark.parametrize("name", [NEWEST, "samples/0003.npz", "metrics.csv"])
def test_the_disk_is_full(tmp_path, finished, name, monkeypatch):
    "The file's temporary name leads to /dev/full, so the kernel itself answers ENOSPC, in the third epoch"
    folder, epoch = tmp_path/"run", Trainer.epoch
    def third(self, number, asked):
        if number == 3: fill(folder/name)
        return epoch(self, number, asked)
    monkeypatch.setattr(Trainer, "epoch", third)
    with pytest.raises(Refused, match="No space left on device"): train(folder)
    assert Run(folder).metrics.epoch.tolist() in ([1, 2], [1, 2, 3]) and checkpoint(folder)["epoch"] == 2
    assert not list(folder.rglob(".*.tmp*"))
    monkeypatch.undo()
    train(folder)
    assert_same_run(folder, finished)

def fill(path):
    "Let the next that is written to `path` find no space"
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp{path.suffix}")
    beside.parent.mkdir(exist_ok=True)
    beside.symlink_to("/dev/full")
