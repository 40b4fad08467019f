"""The commands on the pages of the studies: every line is one that the notebooks take; some of each kind are run as
they stand, on small real images. `python tests/tools/commands.py` runs them all. And the tables of two studies."""
import ast
import json
import shlex

import pandas as pd
import pytest
import yaml

import commands
import warm
from conftest import ROOT, papermill
from noisykit.record import Run
from noisykit.resolve import resolve
from shared import once

LINES = dict(commands.lines())

def parameters(notebook):
    "Names that the notebook's tagged cell sets"
    cells = json.loads((ROOT/notebook).read_text())["cells"]
    cell = next(c for c in cells if "parameters" in c["metadata"].get("tags", []))
    names = set()
    for node in ast.parse("".join(cell["source"])).body: names |= {target.id for target in node.targets}
    return names

@pytest.mark.parametrize("what", LINES)
def test_every_line_is_one_that_its_notebook_takes(what):
    given, notebook = commands.parameters(LINES[what]), shlex.split(LINES[what])[1]
    assert set(given) <= parameters(notebook)
    if "run_method" in notebook: resolve(device="cpu", **given)   # no data needed: names, studies, options

# ---- lines that are run

@pytest.fixture(scope="module")
def folder(tmp_path_factory): return once(tmp_path_factory, "commands", commands.make_data)

# the line that papermill itself runs, with a kernel, is the only one of its notebook here
COLD = {"open-set noise", "sample dissection of a run", "IEG, evaluation of a saved run, ResNet-29",
        "training dynamics, step 1, a run's dynamics as the study's files",
        "training dynamics, step 2, a detector from CIFAR-10, 0.2",
        "training dynamics, which labels are wrong, CIFAR-10"}

def run(what, folder):
    if what in COLD: done = commands.run(LINES[what], folder)
    else: done = warm.papermill(commands.small(LINES[what]), folder)
    assert done.returncode == 0, done.stderr[-2000:]

ALONE = ["open-set noise", "Animal-10N, SLN+MO+LC", "Reweight, clean images by name", "MLC, texts"]

@pytest.mark.parametrize("what", ALONE)
def test_a_line(folder, what):
    run(what, folder)
    if what == "MLC, texts": assert Run(folder/"runs/mlc-text").has("target")

def test_lines_of_sln(folder):
    run("SLN+MO", folder)
    assert Run(folder/"runs/sln+mo-cifar10-sym0.4-s123").readable("final_ema")
    run("sample dissection of a run", folder)
    assert (folder/"runs/sln+mo-cifar10-sym0.4-s123/figures/sample_dissect.png").is_file()

def test_lines_of_mixup(folder):
    run("Mixup, hard", folder)
    run("label shares of a run", folder)
    assert (folder/"runs/isic-mixup-hard-0.4/figures/beta.png").is_file()

def test_lines_of_ieg(folder):
    run("IEG, CIFAR-10, asymmetric 0.4, ResNet-29, 100 clean images", folder)
    run("IEG, evaluation of a saved run, ResNet-29", folder)
    accuracy = Run(folder/"runs/ieg-cifar10-resnet29").metrics.test_accuracy_ema.iloc[-1]
    assert f"{accuracy:.4f}".rstrip("0") in printed(folder/"runs/evaluation.ipynb")

def test_a_line_for_several_gpus(folder):
    run("IEG, WebVision mini, ImageNet's validation set beside, 8 GPUs", folder)
    found = Run(folder/"runs/ieg-webvision")
    assert {"test_accuracy_ema", "imagenet_accuracy_ema"} <= set(found.metrics)
    assert found.config["nproc"] == 2 and len(found.data["clean"]) == 12

def test_a_line_of_fsr(folder):
    run("FSR, long-tailed CIFAR-10 with noise, 50 to 1, uniform 0.2", folder)
    found = Run(folder/"runs/fsr-tail-noise-cifar10")
    assert found.samples("weight", 1).std() == 0 < found.samples("weight", 2).std()
    assert found.labels.flipped.any() and "queue_purity" in found.metrics

def test_lines_of_training_dynamics(folder):
    run("training dynamics, step 1, CIFAR-10, uniform 0.2", folder)
    first = Run(folder/"runs/td-cifar10-0.2")
    run("training dynamics, step 1, a run's dynamics as the study's files", folder)
    written = {p.name for p in (folder/"runs/td-cifar10-0.2-files").iterdir()}
    assert {"training_dynamics.npz", "metadata.pth"} <= written
    run("training dynamics, step 2, a detector from CIFAR-10, 0.2", folder)
    run("training dynamics, which labels are wrong, CIFAR-10", folder)
    run("training dynamics, step 3, CIFAR-10, uniform 0.2, without 0.2", folder)
    again, scores = Run(folder/"runs/retrain-cifar10-0.2"), pd.read_csv(first.folder/"scores/lstm.csv")
    assert again.all_labels.split.value_counts().to_dict() == dict(train=192, removed=48)
    assert (again.all_labels.given == first.all_labels.given).all()
    most = scores.sort_values("score", ascending=False)["index"][:48]
    assert set(again.all_labels.query("split == 'removed'").index) == set(most)

def calls_of_papermill():
    "(notebook, whether papermill itself runs it) for every call in the tests"
    for path in sorted((ROOT/"tests").rglob("test_*.py")):
        for call in ast.walk(ast.parse(path.read_text())):
            if not isinstance(call, ast.Call) or getattr(call.func, "id", "") != "papermill": continue
            if not isinstance(call.args[0], ast.Constant): continue
            yield call.args[0].value, "cold" in [word.arg for word in call.keywords]

def test_papermill_itself_runs_every_notebook_once():
    "The other tests let a process that has all imported do the same, see warm.py"
    shown = {shlex.split(LINES[what])[1] for what in COLD}
    cold = {notebook.removeprefix("nbs/").removesuffix(".ipynb") for notebook in shown}
    calls = [*calls_of_papermill(), ("run_method", True)]   # by the fixture in conftest.py
    calls += [("studies/sln", True), ("studies/isic", True)]   # by `tabulated`
    cold |= {notebook for notebook, by_itself in calls if by_itself}
    assert "explore" in cold and {notebook for notebook, _ in calls} <= cold

# ---- tables of studies

def printed(notebook):
    "What its cells put out, not what they say"
    cells = json.loads(notebook.read_text())["cells"]
    outputs = [o for c in cells for o in c.get("outputs", [])]
    return "".join("".join(o.get("text", [])) + "".join(o.get("data", {}).get("text/html", [])) for o in outputs)

def tabulated(study, folder, **dictionaries):
    """(table of runs, what the notebook shows). The second time, when papermill itself executes the notebook, all runs
    are there: it comes to the same table"""
    out, csv = folder/"out.ipynb", folder/"runs.csv"
    given = yaml.safe_dump(dictionaries | dict(data_options=dict(train_size=300), seeds=[0], out=str(csv)))
    tables = []
    for cold in (False, True):
        done = papermill(f"studies/{study}", out, given, cold, dataset="digits", runs_dir=folder/"runs", by="loop")
        assert done.returncode == 0, done.stderr[-2000:]
        tables.append(pd.read_csv(csv).drop(columns="git", errors="ignore"))
    assert tables[0].equals(tables[1])
    return tables[0], printed(out)

def test_the_table(tmp_path):
    settings = dict(epochs=2, device="cpu", probe_size=0)
    table, said = tabulated("sln", tmp_path, settings=settings, laws=dict(symmetric=dict(sigma=.5)))
    assert len(table) == 3 and "SLN+MO+LC" in said

def test_the_isic_table(tmp_path):
    rows = ["Baseline", "Proposal, upper bound"]
    table, said = tabulated("isic", tmp_path, settings=dict(epochs=2, device="cpu"), rows=rows)
    assert table.row.tolist() == [rows[0], *rows] and table.rate.tolist() == [0, 0.4, 0.4]
    pseudo_run = Run(tmp_path/"runs"/table.trial[2]).config["options"]["pseudo_run"]
    assert pseudo_run == str(tmp_path/"runs"/table.trial[0])
    _, base, bound = table.test_accuracy
    assert "the upper bound is the best row" in said and f"{100*(bound - base):+.1f}" in said
    assert ("yes (1 of 1 seed)" if bound > base else "no (0 of 1 seed)") in said

WRONG = [("rates: [0, 0.4]", "rates must be above 0"), ("seeds: []", "need one entry or more"),
         ("settings: {probe_size: 7}", "settings must not hold probe_size")]

@pytest.mark.parametrize("wrong, sentence", WRONG)
def test_the_isic_table_refuses(tmp_path, wrong, sentence):
    done = papermill("studies/isic", tmp_path/"out.ipynb", runs_dir=tmp_path/"runs", yaml=f"{{{wrong}}}")
    assert done.returncode != 0 and sentence in done.stderr.strip().splitlines()[-1]
    assert not (tmp_path/"runs").exists()
