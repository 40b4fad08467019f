"""A saved run is evaluated again: the numbers are the record's, nothing is written, and what does not fit is refused in one sentence."""
import shutil, signal

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image

from conftest import SMALL, papermill, tree
from noisykit.errors import sentence
from noisykit.data.source import load_dataset
from noisykit.evaluation import evaluate_run
from noisykit.methods.ce import CE
from noisykit.networks import create_network
from noisykit.processes import Stopped
from noisykit.record import Run
from noisykit.run import run_method

SCORES = ["loss", "accuracy", "balanced_accuracy"]

@pytest.fixture(autouse=True)
def one_thread():
    "As papermill's processes: other sums would be other last digits"
    n = torch.get_num_threads(); torch.set_num_threads(1); yield; torch.set_num_threads(n)

def recorded(run, end=""): return [run.metrics.iloc[-1][f"test_{k}{end}"] for k in SCORES]

def test_papermill(l2r_run, tmp_path):
    _, folder, _ = l2r_run
    before = tree(folder)
    done = papermill("evaluate_run", tmp_path/"out.ipynb", f"out: {tmp_path}/new/table.csv", run_dir=folder, device="cpu")
    assert done.returncode == 0, done.stderr[-3000:]
    table = pd.read_csv(tmp_path/"new/table.csv", float_precision="round_trip")
    assert table[SCORES].iloc[0].tolist() == recorded(Run(folder)) and table[["network", "test", "samples", "epoch", "steps"]].values.tolist() == [["network", "test", 360, 2, 0]]
    assert tree(folder) == before and "after epoch 2 of 2" in (tmp_path/"out.ipynb").read_text()

@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float64"])
def test_every_network_in_every_precision(tmp_path, precision):
    run = run_method(method="ce+mo", precision=precision, options=dict(ema_decay=0.98), run_dir=str(tmp_path/"run"), quiet=True, **SMALL)
    table = evaluate_run(run.folder, device="cpu").set_index("network")
    assert table.loc["network", SCORES].tolist() == recorded(run) and table.loc["ema", SCORES].tolist() == recorded(run, "_ema")

def test_cut_off_in_the_middle_of_an_epoch(tmp_path, monkeypatch):
    done = []
    def after_step(self):
        done.append(1)
        if len(done) == 30: signal.raise_signal(signal.SIGTERM) # the next step sees it
    monkeypatch.setattr(CE, "after_step", after_step)
    with pytest.raises(Stopped): run_method(method="ce", run_dir=str(tmp_path/"run"), quiet=True, **SMALL)
    before = tree(tmp_path/"run")
    row, = evaluate_run(tmp_path/"run", device="cpu").to_dict("records")
    steps = -(-len(Run(tmp_path/"run").labels)//64) # an epoch's
    assert (row["epoch"], row["steps"]) == divmod(31, steps) and row["steps"] and tree(tmp_path/"run") == before
    net, source = create_network("cnn", 10, 1, tmp_path/"run/checkpoint.pt").eval(), load_dataset("digits")
    with torch.no_grad(): said = net(next(source.test.batches([torch.arange(360)]))).argmax(1).numpy()
    assert row["accuracy"] == (said == source.test_labels).mean() > 0.2

@pytest.fixture
def moved(tmp_path):
    "A run on a folder of pictures that lies somewhere else now: (run folder, new place)"
    s = load_dataset("digits")
    for i in range(60):
        (d := tmp_path/f"old/digit {s.labels[i] % 2}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(s.train.pixels[i, 0].numpy()).save(d/f"{i}.png")
    run_method(method="ce", run_dir=str(tmp_path/"run"), quiet=True, **SMALL | dict(dataset="imagefolder", data_dir=str(tmp_path/"old"), data_options=dict(image_size=16, workers=0), model="cnn", probe_size=0))
    (tmp_path/"old").rename(tmp_path/"new")
    return tmp_path/"run", tmp_path/"new"

def test_data_elsewhere(moved):
    folder, new = moved
    assert sentence(evaluate_run, folder, device="cpu").endswith("old does not exist")
    assert evaluate_run(folder, str(new), "cpu")[SCORES].iloc[0].tolist() == recorded(Run(folder))
    one = next((new/"digit 0").glob("*.png")); one.rename(new/"digit 1"/one.name)
    assert "samples have another label in the run's record" in sentence(evaluate_run, folder, new)
    (new/"digit 0").rename(new/"zero")
    assert "they have 2 classes, digit 1 ... zero, and the run 2, digit 0 ... digit 1" in sentence(evaluate_run, folder, new)

def test_further_test_sets(l2r_run, monkeypatch):
    def with_more(*args, **options):
        source = load_dataset(*args, **options)
        source.tests = dict(half=(source.test.take(np.arange(180)), source.test_labels[:180]))
        return source
    monkeypatch.setattr("noisykit.evaluation.load_dataset", with_more)
    table = evaluate_run(l2r_run[1], device="cpu").set_index("test")
    assert table.samples.to_dict() == dict(test=360, half=180) and table.loss["half"] != table.loss["test"] and table.loc["test", SCORES].tolist() == recorded(Run(l2r_run[1]))

BAD = {
    "no run": (lambda d: (d/"config.yaml").unlink(), {}, "holds no run: there is no config.yaml"),
    "no checkpoint": (lambda d: (d/"checkpoint.pt").unlink(), {}, "has no checkpoint.pt: no network was saved"),
    "cut short": (lambda d: (d/"checkpoint.pt").write_bytes((d/"checkpoint.pt").read_bytes()[:5000]), {}, "checkpoint.pt cannot be read as a run's checkpoint ("),
    "something else": (lambda d: torch.save([1], d/"checkpoint.pt"), {}, "checkpoint.pt cannot be read as a run's checkpoint (TypeError)"),
    "another network": (lambda d: torch.save(torch.load(d/"checkpoint.pt") | dict(net=create_network("lenet", 10, 1).state_dict()), d/"checkpoint.pt"), {}, "weights do not fit the network"),
    "no data": (lambda d: None, dict(data_dir="nowhere"), "data folder nowhere does not exist"),
    "device": (lambda d: None, dict(device="gpu"), "device 'gpu' cannot be used"),
}

@pytest.mark.parametrize("name", BAD)
def test_refused(l2r_run, tmp_path, name):
    damage, kw, said = BAD[name]
    shutil.copytree(l2r_run[1], tmp_path/"run"); damage(tmp_path/"run")
    before = tree(tmp_path)
    answer = sentence(evaluate_run, tmp_path/"run", **kw)
    assert said in answer and "\n" not in answer and tree(tmp_path) == before

@pytest.mark.parametrize("kw, said", [({}, "ValueError: run_dir must be text; got None"), (dict(run_dir="nowhere"), "FileNotFoundError: nowhere holds no run: there is no config.yaml"),
                                      (dict(run_dir="{run}", yaml="out: {run}/figures/t.csv"), "must be a new .csv outside the run folder"), (dict(run_dir="{run}", outt="t.csv"), "unknown parameter 'outt'; did you mean 'out'?")])
def test_papermill_refuses(l2r_run, tmp_path, kw, said):
    before = tree(l2r_run[1])
    done = papermill("evaluate_run", tmp_path/"out.ipynb", **{k: v.format(run=l2r_run[1]) for k, v in kw.items()})
    assert done.returncode and said in done.stderr.strip().splitlines()[-1] and tree(l2r_run[1]) == before

def test_a_run_of_an_older_version(l2r_run, tmp_path):
    "Settings that came later are not in its configuration"
    shutil.copytree(l2r_run[1], tmp_path/"run")
    held = yaml.safe_load((tmp_path/"run/config.yaml").read_text())
    for k in ("restarts", "probe_batch", "batch_norm"): del held["config"][k]
    (tmp_path/"run/config.yaml").write_text(yaml.safe_dump(held))
    assert evaluate_run(tmp_path/"run", device="cpu")[SCORES].iloc[0].tolist() == recorded(Run(l2r_run[1]))
