"""The commands on the pages of the studies: every line is one that the notebooks take; some of each kind are run as they stand, on small real images. `python tests/tools/commands.py` runs them all."""
import ast
import json
import shlex

import pandas as pd
import pytest

import commands
import warm
from conftest import ROOT, papermill
from noisykit.record import Run
from noisykit.resolve import resolve

LINES = dict(commands.lines())

def known(notebook):
    cell = next(c for c in json.loads((ROOT/notebook).read_text())["cells"] if "parameters" in c["metadata"].get("tags", []))
    return {t.id for node in ast.parse("".join(cell["source"])).body for t in node.targets}

@pytest.mark.parametrize("what", LINES)
def test_every_line_is_one_that_its_notebook_takes(what):
    given, notebook = commands.parameters(LINES[what]), shlex.split(LINES[what])[1]
    assert set(given) <= known(notebook)
    if "run_method" in notebook: resolve(device="cpu", **given)   # no data needed: names, studies, options

@pytest.fixture(scope="module")
def folder(tmp_path_factory): commands.make_data(d := tmp_path_factory.mktemp("commands")); return d

SHOWN = ["open-set noise", "SLN+MO", "sample dissection of a run", "Animal-10N, SLN+MO+LC", "Reweight, clean images by name", "Mixup, hard", "label shares of a run", "MLC, texts",
         "IEG, CIFAR-10, asymmetric 0.4, ResNet-29, 100 clean images", "IEG, evaluation of a saved run, ResNet-29", "IEG, WebVision mini, ImageNet's validation set beside, 8 GPUs", "FSR, long-tailed CIFAR-10 with noise, 50 to 1, uniform 0.2",
         *(f"training dynamics, {w}" for w in ("step 1, CIFAR-10, uniform 0.2", "step 1, a run's dynamics as the study's files", "step 2, a detector from CIFAR-10, 0.2", "which labels are wrong, CIFAR-10", "step 3, CIFAR-10, uniform 0.2, without 0.2"))]

# the first line of each notebook is a command as it stands, with a kernel; the others run in a process that has all imported
COLD = {shlex.split(LINES[what])[1]: what for what in reversed(SHOWN)}.values()

@pytest.mark.parametrize("what", SHOWN)   # the third draws the second, label shares and evaluation are of the one before, the last five build on each other
def test_some_lines_run(folder, what):
    done = commands.run(LINES[what], folder) if what in COLD else warm.papermill(commands.small(LINES[what]), folder)
    assert done.returncode == 0, done.stderr[-2000:]
    if what == "SLN+MO": assert Run(folder/"runs/sln+mo-cifar10-sym0.4-s123").readable("final_ema")
    if what.startswith("label"): assert (folder/"runs/isic-mixup-hard-0.4/figures/beta.png").is_file()
    if what.startswith("sample"): assert (folder/"runs/sln+mo-cifar10-sym0.4-s123/figures/sample_dissect.png").is_file()
    if what.startswith("MLC"): assert Run(folder/"runs/mlc-text").has("target")
    if "evaluation" in what: assert f"{Run(folder/'runs/ieg-cifar10-resnet29').metrics.test_accuracy_ema.iloc[-1]:.4f}".rstrip("0") in printed(folder/"runs/evaluation.ipynb")
    if "WebVision" in what: assert {"test_accuracy_ema", "imagenet_accuracy_ema"} <= set((run := Run(folder/"runs/ieg-webvision")).metrics) and run.config["nproc"] == 2 and len(run.data["clean"]) == 12
    if what.startswith("FSR"): assert (run := Run(folder/"runs/fsr-tail-noise-cifar10")).samples("weight", 1).std() == 0 < run.samples("weight", 2).std() and run.labels.flipped.any() and "queue_purity" in run.metrics

    if "study's files" in what: assert {"training_dynamics.npz", "metadata.pth"} <= {p.name for p in (folder/"runs/td-cifar10-0.2-files").iterdir()}
    if what.endswith("without 0.2"):
        run, scores = Run(folder/"runs/retrain-cifar10-0.2"), pd.read_csv(folder/"runs/td-cifar10-0.2/scores/lstm.csv")
        assert run.all_labels.split.value_counts().to_dict() == dict(train=192, removed=48) and (run.all_labels.given == Run(folder/"runs/td-cifar10-0.2").all_labels.given).all()
        assert set(run.all_labels.query("split == 'removed'").index) == set(scores.sort_values("score", ascending=False)["index"][:48])

def printed(notebook):
    "What its cells put out, not what they say"
    cells = json.loads(notebook.read_text())["cells"]
    return "".join("".join(o.get("text", [])) + "".join(o.get("data", {}).get("text/html", [])) for c in cells for o in c.get("outputs", []))

def test_the_table(tmp_path):
    done = papermill("studies/sln", tmp_path/"out.ipynb", dataset="digits", runs_dir=tmp_path/"runs", by="loop",
                     yaml=f"{{data_options: {{train_size: 300}}, settings: {{epochs: 2, device: cpu, probe_size: 0}}, seeds: [0], laws: {{symmetric: {{sigma: 0.5}}}}, out: {tmp_path/'runs.csv'}}}")
    assert done.returncode == 0, done.stderr[-2000:]
    assert len((tmp_path/"runs.csv").read_text().splitlines()) == 4 and "SLN+MO+LC" in printed(tmp_path/"out.ipynb")

def test_the_isic_table(tmp_path):
    done = papermill("studies/isic", tmp_path/"out.ipynb", dataset="digits", runs_dir=tmp_path/"runs", by="loop",
                     yaml=f"{{data_options: {{train_size: 300}}, settings: {{epochs: 2, device: cpu}}, seeds: [0], rows: [Baseline, 'Proposal, upper bound'], out: {tmp_path/'runs.csv'}}}")
    assert done.returncode == 0, done.stderr[-2000:]
    table = pd.read_csv(tmp_path/"runs.csv")
    assert table.row.tolist() == ["Baseline", "Baseline", "Proposal, upper bound"] and table.rate.tolist() == [0, 0.4, 0.4]
    assert Run(tmp_path/"runs"/table.trial[2]).config["options"]["pseudo_run"] == str(tmp_path/"runs"/table.trial[0])
    said, bound, base = printed(tmp_path/"out.ipynb"), *(table.set_index("row").test_accuracy.iloc[i] for i in (2, 1))
    assert "the upper bound is the best row" in said and f"{100*(bound - base):+.1f}" in said and ("yes (1 of 1 seed)" if bound > base else "no (0 of 1 seed)") in said

@pytest.mark.parametrize("wrong, sentence", [("rates: [0, 0.4]", "rates must be above 0"), ("seeds: []", "need one entry or more"), ("settings: {probe_size: 7}", "settings must not hold probe_size")])
def test_the_isic_table_refuses(tmp_path, wrong, sentence):
    done = papermill("studies/isic", tmp_path/"out.ipynb", runs_dir=tmp_path/"runs", yaml=f"{{{wrong}}}")
    assert done.returncode != 0 and sentence in done.stderr.strip().splitlines()[-1] and not (tmp_path/"runs").exists()
