"""Runs in several processes as a user starts them: errors that reach the caller, nothing lost or counted twice,
papermill, torchrun. That they come to what one process comes to: contract/test_two_processes.py."""
import json
import subprocess
import sys

import numpy as np
import pytest
import yaml
from torch.distributed import TCPStore

from cases import settings
from conftest import ENV, ROOT, SMALL, papermill
from held import PATIENCE, forked
from noisykit.errors import Refused
from noisykit.record import Run
from noisykit.run import run_method
from shared import checkpoint, distances, one_thread

def test_nothing_is_lost_or_counted_twice(tmp_path):
    "Odd sizes everywhere; per-rank batch norm: the record holds every sample once, the metrics follow from it"
    kw = SMALL | dict(method="ce", batch_size=50, data_options=dict(train_size=1001), run_dir=str(tmp_path/"run"))
    assert forked(kw, nproc=3) == [0, 0, 0]
    run = Run(tmp_path/"run")
    losses, last = run.samples("loss"), run.metrics.iloc[-1]
    assert not np.isnan(losses).any() and losses.shape == (2, len(run.labels))
    assert losses[-1].mean() == pytest.approx(last.train_loss, rel=1e-5)
    assert (run.samples("prediction", -1) == run.labels.given).mean() == pytest.approx(last.train_accuracy)
    right = last.test_accuracy*360
    assert round(right) == pytest.approx(right, abs=1e-4)
    assert 0 < last.seconds_in_sums < last.seconds

# ---- through papermill

def printed(notebook):
    outputs = [o for c in json.loads(notebook.read_text())["cells"] for o in c.get("outputs", [])]
    return "".join("".join(o.get("text", "")) for o in outputs)

def test_papermill_on_two_processes(tmp_path):
    "What the first process prints comes into the notebook, through the kernel"
    out, kw = tmp_path/"out.ipynb", SMALL | dict(method="l2r", nproc=2, run_dir=tmp_path/"run")
    done = papermill("run_method", out, cold=True, **kw)
    assert done.returncode == 0, done.stderr[-3000:]
    text = printed(out)
    assert "on 2 x cpu" in text and text.count("epoch 2/2") == 1 and "Warning" not in text
    run = Run(tmp_path/"run")
    assert len(run.metrics) == 2 and run.config["nproc"] == 2
    assert {p.stem for p in (run.folder/"figures").glob("*.png")} >= {"weights", "learning_curves"}

def test_an_error_in_a_child_is_the_run_s_error(tmp_path):
    kw = SMALL | dict(method="ce", nproc=2, run_dir=tmp_path/"run", lr=1e30)
    done = papermill("run_method", tmp_path/"out.ipynb", **kw)
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("FloatingPointError: the loss is") and "training stopped" in done.stderr

BAD = [(dict(nproc=0), "nproc must be a number of at least 1; got 0"),
       (dict(nproc=40, batch_size=32), "nproc 40 leaves processes without samples: a batch has 31"),
       (dict(nproc=60), "nproc 60 leaves processes without samples: a probe batch has 50"),
       (dict(batch_norm="sync"), r"unknown batch_norm 'sync'; did you mean 'synced'\?"),
       (dict(batch_norm="synced", engine="higher"), "cannot differentiate synced batch norm twice"),
       (dict(restarts=-1), "restarts must be a number of at least 0")]

@pytest.mark.parametrize("kw, sentence", BAD, ids=str)
def test_bad_input(tmp_path, kw, sentence):
    with pytest.raises(Refused, match=sentence):
        run_method(run_dir=str(tmp_path/"run"), **SMALL | dict(method="l2r") | kw)
    assert not (tmp_path/"run").exists()

# ---- torchrun, two machines

def test_two_agents_of_torchrun(tmp_path):
    "Two launchers on the loopback address, two processes each, as two machines would: one run of four processes"
    kw = settings("l2r", epochs=1)
    (tmp_path/"run.yaml").write_text(yaml.safe_dump(kw | dict(run_dir=str(tmp_path/"run"))))
    store = TCPStore("localhost", 0, is_master=True, wait_for_workers=False)   # where the launchers meet
    words = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "2",
             "--rdzv-backend", "c10d", "--rdzv-id", "noisykit", "--rdzv-endpoint", f"localhost:{store.port}",
             "--rdzv-conf", "is_host=0", "--local-addr", "localhost", "-m", "noisykit", str(tmp_path/"run.yaml")]
    how = dict(cwd=ROOT, env=ENV, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    agents = [subprocess.Popen(words, **how) for _ in range(2)]
    said = [agent.communicate(timeout=PATIENCE) for agent in agents]
    assert [agent.returncode for agent in agents] == [0, 0], said
    assert sum(out.count("epoch 1/1") for out, _ in said) == 1 and "on 4 x cpu" in said[0][0] + said[1][0]
    with one_thread(): run_method(run_dir=str(tmp_path/"one"), quiet=True, **kw)
    apart = distances(checkpoint(tmp_path/"run"), checkpoint(tmp_path/"one"))
    assert {k: v for k, v in apart.items() if v > 1e-10} == {}
    assert Run(tmp_path/"run").config["nproc"] == 4
