"""Sweeps as a user runs them: by Ray Tune and in a loop, cut off and continued, with trials that fail."""
import json, subprocess, time

import pandas as pd
import psutil
import pytest

from conftest import ENV, ROOT, command
from noisykit.record import Run

BASE = "base: {method: sln, dataset: digits, noise: symmetric, noise_rate: 0.6, val_share: 0.1, probe_size: 0, epochs: %d, device: cpu}"
OVER = "over: {options.sigma: [0.1, 0.5], seed: [0, 1]}"
NAMES = {f"sln-digits-symmetric0.6-s{s}-sigma{x}" for s in (0, 1) for x in (0.1, 0.5)}

def words(*yaml, out, **params):
    return command("run_sweep", out, **params) + [w for y in yaml for w in ("-y", y)]

def sweep(*yaml, out, **params):
    return subprocess.run(words(*yaml, out=out, **params), cwd=ROOT, env=ENV, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600)

def finished(folder): return {p.parent.name for p in folder.glob("*/metrics.csv") if Run(p.parent).first_gap()[0] == Run(p.parent).config["epochs"]}

def said(notebook): return "".join("".join(o.get("text", "")) for c in json.loads(notebook.read_text())["cells"] for o in c.get("outputs", []))

def test_cut_off_and_continued_by_ray(tmp_path):
    "Everything is killed when the first trial has finished and others are under way; the same command does the rest, and only that"
    params = dict(out=tmp_path/"out.ipynb", runs_dir=tmp_path/"runs", by="ray")
    p = subprocess.Popen(words(BASE % 12, OVER, **params), cwd=ROOT, env=ENV, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.time() + 300
    while not (before := finished(tmp_path/"runs")):
        assert p.poll() is None and time.time() < end
        time.sleep(.1)
    family = [psutil.Process(p.pid), *psutil.Process(p.pid).children(recursive=True)]
    for q in family: q.kill() if q.is_running() else None
    psutil.wait_procs(family, timeout=30)
    before = finished(tmp_path/"runs")
    assert 0 < len(before) < 4
    kept = {n: (tmp_path/"runs"/n/"run.ipynb").stat().st_mtime_ns for n in before}
    done = sweep(BASE % 12, OVER, **params)
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"4 trials, {len(before)} of them finished before" in said(tmp_path/"out.ipynb")
    assert finished(tmp_path/"runs") == NAMES
    assert kept == {n: (tmp_path/"runs"/n/"run.ipynb").stat().st_mtime_ns for n in before}   # not run again

def test_the_loop_gives_the_same_table(tmp_path):
    "A trial that fails is tried again and named; the others are done, by Ray and in a loop, with the same numbers"
    configs = "configs: [{options.sigma: 0.5, lr: 0.05}, {options.sigma: 0.5, lr: 1.0e+30}]"
    tables = {}
    for by in ("ray", "loop"):
        out, csv = tmp_path/f"{by}.ipynb", tmp_path/f"{by}.csv"
        done = sweep(BASE % 3, configs, f"out: {csv}", out=out, runs_dir=tmp_path/by, by=by, retries=1)
        last = done.stderr.strip().splitlines()[-1]
        assert done.returncode != 0 and last.startswith("RuntimeError: 1 of 2 trials failed: sln-digits-symmetric0.6-s0-sigma0.5-lr1e+30 (the loss is"), done.stderr[-2000:]
        assert "done    sln-digits-symmetric0.6-s0-sigma0.5-lr0.05" in said(out) and "failed  sln-digits-symmetric0.6-s0-sigma0.5-lr1e+30" in said(out)
        if by == "loop": assert said(out).count("failed  sln") == 2   # tried again once
        tables[by] = pd.read_csv(csv)
        assert sum("image/png" in o.get("data", {}) for c in json.loads(out.read_text())["cells"] for o in c.get("outputs", [])) == 1
    same = [k for k in tables["ray"] if not k.startswith("seconds")]
    pd.testing.assert_frame_equal(tables["ray"][same], tables["loop"][same], check_exact=True)
    assert len(tables["ray"]) == 1 and tables["ray"]["options.sigma"].tolist() == [0.5]

@pytest.mark.parametrize("yaml, sentence", [("over: {epochs: [1, 2.5]}", "epochs must be a whole number; got 2.5"),
                                            ("ovr: {seed: [1]}", "unknown parameter 'ovr'; did you mean 'over'?")])
def test_bad_input(tmp_path, yaml, sentence):
    done = sweep(BASE % 1, *([] if yaml.startswith("over") else [OVER]), yaml, out=tmp_path/"out.ipynb", runs_dir=tmp_path/"runs")
    assert done.returncode != 0 and sentence in done.stderr.strip().splitlines()[-1] and not (tmp_path/"runs").exists()
