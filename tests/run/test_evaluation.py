"""A saved run is evaluated again: the numbers are the record's, nothing is written, and what does not fit is refused in
one sentence."""
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image

import shared
from conftest import SMALL, papermill, tree
from noisykit.data.source import load_dataset
from noisykit.errors import sentence
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
    with shared.one_thread(): yield

def train(folder, **kw): return run_method(run_dir=str(folder), quiet=True, **SMALL | kw)

def recorded(run, end=""):
    last = run.metrics.iloc[-1]
    return [last[f"test_{score}{end}"] for score in SCORES]

# ---- the record's numbers

def test_papermill(l2r_run, tmp_path):
    _, folder = l2r_run
    before, file = tree(folder), tmp_path/"new/table.csv"
    done = papermill("evaluate_run", tmp_path/"out.ipynb", f"out: {file}", run_dir=folder, device="cpu")
    assert done.returncode == 0, done.stderr[-3000:]
    table = pd.read_csv(file)
    assert table[SCORES].iloc[0].tolist() == recorded(Run(folder))
    assert table[["network", "test", "samples", "epoch", "steps"]].values.tolist() == [["network", "test", 360, 2, 0]]
    assert tree(folder) == before and "after epoch 2 of 2" in (tmp_path/"out.ipynb").read_text()

@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float64"])
def test_every_network_in_every_precision(tmp_path, precision):
    run = train(tmp_path/"run", method="ce+mo", precision=precision, options=dict(ema_decay=0.98))
    table = evaluate_run(run.folder, device="cpu").set_index("network")
    assert table.loc["network", SCORES].tolist() == recorded(run)
    assert table.loc["ema", SCORES].tolist() == recorded(run, "_ema")

def test_cut_off_in_the_middle_of_an_epoch(tmp_path):
    folder = tmp_path/"run"
    with shared.told_to_stop(CE, folder, epoch=2, step=7), pytest.raises(Stopped): train(folder, method="ce")
    before = tree(folder)
    row, = evaluate_run(folder, device="cpu").to_dict("records")
    assert (row["epoch"], row["steps"]) == (1, 8) and tree(folder) == before
    net, source = create_network("cnn", 10, 1, folder/"checkpoint.pt").eval(), load_dataset("digits")
    with torch.no_grad(): said = net(next(source.test.batches([torch.arange(360)]))).argmax(1).numpy()
    assert row["accuracy"] == (said == source.test_labels).mean() > 0.2

def test_further_test_sets(l2r_run, monkeypatch):
    def with_more(*args, **options):
        source = load_dataset(*args, **options)
        source.tests = dict(half=(source.test.take(np.arange(180)), source.test_labels[:180]))
        return source
    monkeypatch.setattr("noisykit.evaluation.load_dataset", with_more)
    table = evaluate_run(l2r_run[1], device="cpu").set_index("test")
    assert table.samples.to_dict() == dict(test=360, half=180) and table.loss["half"] != table.loss["test"]
    assert table.loc["test", SCORES].tolist() == recorded(Run(l2r_run[1]))

def test_a_run_of_an_older_version(copy_of_l2r):
    "Settings that came later are not in its configuration"
    file = copy_of_l2r/"config.yaml"
    held = yaml.safe_load(file.read_text())
    for name in ("restarts", "probe_batch", "batch_norm"): del held["config"][name]
    file.write_text(yaml.safe_dump(held))
    found = evaluate_run(copy_of_l2r, device="cpu")
    assert found[SCORES].iloc[0].tolist() == recorded(Run(copy_of_l2r))

# ---- pictures that lie somewhere else now

@pytest.fixture
def moved(tmp_path):
    "(run folder, new place of its pictures)"
    digits = load_dataset("digits")
    for i in range(60):
        file = tmp_path/f"old/digit {digits.labels[i] % 2}/{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(digits.train.pixels[i, 0].numpy()).save(file)
    train(tmp_path/"run", method="ce", dataset="imagefolder", data_dir=str(tmp_path/"old"), model="cnn", probe_size=0,
          data_options=dict(image_size=16, workers=0))
    return tmp_path/"run", (tmp_path/"old").rename(tmp_path/"new")

def test_data_elsewhere(moved):
    folder, new = moved
    assert sentence(evaluate_run, folder, device="cpu").endswith("old does not exist")
    assert evaluate_run(folder, str(new), "cpu")[SCORES].iloc[0].tolist() == recorded(Run(folder))
    one = sorted((new/"digit 0").glob("*.png"))[0]
    one.rename(new/"digit 1"/one.name)
    assert "samples have another label in the run's record" in sentence(evaluate_run, folder, new)
    (new/"digit 0").rename(new/"zero")
    said = "they have 2 classes, digit 1 ... zero, and the run 2, digit 0 ... digit 1"
    assert said in sentence(evaluate_run, folder, new)

# ---- what is refused

def unlink(file): file.unlink()

def cut_short(file): file.write_bytes(file.read_bytes()[:5000])

def something_else(file): torch.save([1], file)

def another_network(file): torch.save(torch.load(file) | dict(net=create_network("lenet", 10, 1).state_dict()), file)

def nothing(file): pass

UNREADABLE = "checkpoint.pt cannot be read as a run's checkpoint ("
# damage to a file of the run, that file, what is asked, what is said
BAD = {
    "no run": (unlink, "config.yaml", {}, "holds no run: there is no config.yaml"),
    "no checkpoint": (unlink, "checkpoint.pt", {}, "has no checkpoint.pt: no network was saved"),
    "cut short": (cut_short, "checkpoint.pt", {}, UNREADABLE),
    "something else": (something_else, "checkpoint.pt", {}, f"{UNREADABLE}it has no epoch)"),
    "another network": (another_network, "checkpoint.pt", {}, "weights do not fit the network"),
    "no data": (nothing, "", dict(data_dir="nowhere"), "data folder nowhere does not exist"),
    "device": (nothing, "", dict(device="gpu"), "device 'gpu' cannot be used"),
}

@pytest.mark.parametrize("name", BAD)
def test_refused(copy_of_l2r, name):
    damage, file, kw, said = BAD[name]
    damage(copy_of_l2r/file)
    before = tree(copy_of_l2r)
    answer = sentence(evaluate_run, copy_of_l2r, **kw)
    assert said in answer and "\n" not in answer and tree(copy_of_l2r) == before

BAD_PARAMETERS = [({}, "ValueError: run_dir must be text; got None"),
                  (dict(run_dir="nowhere"), "FileNotFoundError: nowhere holds no run: there is no config.yaml"),
                  (dict(run_dir="{run}", yaml="out: {run}/figures/t.csv"), "must be a new .csv outside the run folder"),
                  (dict(run_dir="{run}", outt="t.csv"), "unknown parameter 'outt'; did you mean 'out'?")]

@pytest.mark.parametrize("kw, said", BAD_PARAMETERS)
def test_papermill_refuses(l2r_run, tmp_path, kw, said):
    _, folder = l2r_run
    before = tree(folder)
    done = papermill("evaluate_run", tmp_path/"out.ipynb", **{k: v.format(run=folder) for k, v in kw.items()})
    assert done.returncode and said in done.stderr.strip().splitlines()[-1] and tree(folder) == before

def test_a_noise_file_with_true_labels_of_its_own(tmp_path):
    "As decisions about labels leave it: the truth is the file's, and the run is evaluated all the same"
    own = load_dataset("digits").labels
    judged = np.where(np.arange(len(own)) < 20, (own + 1) % 10, own)
    table = dict(index=range(len(own)), label=own, label_noisy=judged, label_true=judged)
    pd.DataFrame(table).to_csv(tmp_path/"noise.csv", index=False)
    settings = SMALL | dict(noise="file", noise_file=str(tmp_path/"noise.csv"), epochs=1, probe_size=0)
    settings.pop("noise_rate")
    run = run_method(method="ce", run_dir=str(tmp_path/"run"), quiet=True, **settings)
    assert (run.all_labels.true.to_numpy() != own).sum() == 20
    assert evaluate_run(run.folder, device="cpu").accuracy.iloc[0] == pytest.approx(run.metrics.test_accuracy.iloc[-1])
