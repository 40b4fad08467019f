"""Sweeps as a user runs them: by Ray Tune and in a loop, cut off and continued, with trials that fail."""
import json
import subprocess
import sys

import pandas as pd
import pytest
import yaml

from conftest import ENV, ROOT, command, papermill
from held import Place, kernels, kill, until
from noisykit.errors import sentence
from noisykit.record import Run
from noisykit.sweep import Sweep, run_sweep

BASE = dict(method="sln", dataset="digits", data_options=dict(train_size=300), noise="symmetric", noise_rate=.6,
            val_share=.1, probe_size=0, epochs=3, device="cpu")
CONFIGS = [{"options.sigma": sigma, "lr": lr} for sigma, lr in ((.5, .05), (.1, .05), (.1, 1e30))]
FIRST, SECOND, BAD = (f"sln-digits-symmetric0.6-s0-lr{lr}-sigma{sigma}"
                      for lr, sigma in (("0.05", .5), ("0.05", .1), ("1e+30", .1)))

def as_yaml(**dictionaries): return yaml.safe_dump(dictionaries)

def outputs(notebook): return [o for c in json.loads(notebook.read_text())["cells"] for o in c.get("outputs", [])]

def said(notebook): return "".join("".join(o.get("text", "")) for o in outputs(notebook))

def cut_off(folder, settings):
    "By Ray; everything is killed when one trial has finished and another one is under way"
    first, second = folder/"ray"/FIRST, folder/"ray"/SECOND
    place = Place(str(second), "step 2")   # the sign that it is reached lies beside the run
    silent = subprocess.DEVNULL
    words = command("run_sweep", folder/"cut.ipynb", settings, runs_dir=folder/"ray", by="ray")
    process = subprocess.Popen(words, cwd=ROOT, env=ENV | place.env | kernels(folder/"ipython"), stdin=silent,
                               stdout=silent, stderr=silent)
    def finished(): return (first/"run.ipynb").exists() and Run(first).finished
    until(lambda: place.reached() and finished(), process, "a finished trial and another one in its second step")
    kill(process)
    assert not Run(second).finished
    return first/"run.ipynb"

def table(folder, settings, by, retries, cold=False):
    "Of a sweep in which one trial fails, which is named, and tried again if that is asked for"
    out, csv = folder/f"{by}.ipynb", folder/f"{by}.csv"
    done = papermill("run_sweep", out, f"{settings}out: {csv}", cold=cold, runs_dir=folder/by, by=by, retries=retries)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode != 0
    assert last.startswith(f"RuntimeError: 1 of 3 trials failed: {BAD} (the loss is"), done.stderr[-2000:]
    assert f"done    {SECOND}" in said(out) and said(out).count(f"failed  {BAD}") == 1 + retries
    assert sum("image/png" in o.get("data", {}) for o in outputs(out)) == 1
    return pd.read_csv(csv)

def test_by_ray_and_in_a_loop(tmp_path):
    """Cut off and called again, a sweep by Ray does what is left, and only that. The table that it ends with is the one
    of a loop"""
    settings = as_yaml(base=BASE, configs=CONFIGS)
    notebook = cut_off(tmp_path, settings)
    before = notebook.stat().st_mtime_ns
    ray = table(tmp_path, settings, "ray", retries=0, cold=True)
    assert notebook.stat().st_mtime_ns == before   # not run again
    assert "3 trials, 1 of them finished before" in said(tmp_path/"ray.ipynb")
    loop = table(tmp_path, settings, "loop", retries=1)
    # `git` names the state of the sources, which somebody may be editing
    same = [name for name in ray if not name.startswith("seconds") and name != "git"]
    pd.testing.assert_frame_equal(ray[same], loop[same], check_exact=True)
    assert ray["options.sigma"].tolist() == [.5, .1]

class NoRay:
    "In place of the module, where a machine is short of memory"
    stopped = 0
    def is_initialized(self): return False
    def init(self, **_): raise Exception("The current node timed out during startup")
    def shutdown(self): self.stopped += 1

@pytest.mark.parametrize("by", [None, "ray"])
def test_ray_does_not_start(tmp_path, monkeypatch, capsys, by):
    "The trials run in a loop, unless Ray was asked for"
    monkeypatch.setitem(sys.modules, "ray", ray := NoRay())
    monkeypatch.setattr("noisykit.sweep.find_spec", lambda name: True)
    monkeypatch.setattr(Sweep, "run", lambda sweep, name: dict(test_accuracy=.5))
    sweep = Sweep([BASE], [], tmp_path)
    if by: assert sentence(run_sweep, sweep, by).startswith("Ray does not start (The current node timed out")
    else: assert run_sweep(sweep, by) == {"sln-digits-symmetric0.6-s0": "interrupted"} # nothing was trained
    assert ray.stopped == 1 and ("one after the other\ndone    sln" in capsys.readouterr().out) == (by is None)

@pytest.mark.parametrize("over, said", [
    (dict(over=dict(epochs=[1, 2.5])), "epochs must be a whole number; got 2.5"),
    (dict(over=dict(seed=[1]), ovr=dict(seed=[1])), "unknown parameter 'ovr'; did you mean 'over'?")])
def test_bad_input(tmp_path, over, said):
    done = papermill("run_sweep", tmp_path/"out.ipynb", as_yaml(base=BASE, **over), runs_dir=tmp_path/"runs")
    assert done.returncode != 0 and said in done.stderr.strip().splitlines()[-1]
    assert not (tmp_path/"runs").exists()
