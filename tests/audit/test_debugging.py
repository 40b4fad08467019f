"""Suspicious labels get another one, and the files that say so: whole runs on scikit-learn's digits, the notebook through papermill."""
import json

import numpy as np
import pandas as pd
import pytest
import torch

from conftest import SMALL, papermill, tree
from noisykit.errors import sentence
from noisykit.audit.relabel import most_suspicious, relabel, repairs, save_repaired
from noisykit.train.checkpoint import read_checkpoint, saved_networks
from noisykit.detection.detectors import detect, write_scores
from noisykit.data.noise import load_noise
from noisykit.data.source import load_dataset
from noisykit.run import run_method

KW = SMALL | dict(method="ce", noise_rate=0.4, probe_size=30, lr=0.05, quiet=True)

@pytest.fixture(scope="module")
def made(tmp_path_factory):
    "A run with a probe and a validation split, a detector's scores of its training split, and a run on what is least suspicious"
    d = tmp_path_factory.mktemp("debugging")
    run = run_method(run_dir=str(d/"run"), val_share=0.1, **KW | dict(epochs=4))
    scores = write_scores(run, "loss", detect(run, "loss"))
    rest = run_method(run_dir=str(d/"rest"), val_share=0.1, scores_file=str(scores), remove_ratio=0.4, **KW | dict(epochs=4))
    return run, scores, rest

@pytest.mark.parametrize("share", [0.05, 0.1])
def test_by_truth(made, share):
    run, scores, _ = made
    t, given = relabel(run.folder, scores, share), run.all_labels.given
    ranked = pd.read_csv(scores)
    assert t.index[t.relabelled].tolist() == sorted(ranked["index"][:int(share*len(given))]) and t["index"].tolist() == list(range(len(given)))
    assert (t.label[t.relabelled] == t.true[t.relabelled]).all() and (t.label[~t.relabelled] == given[~t.relabelled]).all()
    r = repairs(t)
    assert r.loc["relabelled", ["images", "wrong_after"]].tolist() == [t.relabelled.sum(), 0] and r.wrong_before["all"] == run.all_labels.flipped.sum()
    assert r.wrong_after["all"] == r.wrong_before["all"] - r.wrong_before["relabelled"] and r.wrong_before["relabelled"] > 0.9*t.relabelled.sum()

def test_by_model(made):
    "What the saved network says of each picture, one at a time, and mostly right"
    run, scores, rest = made
    t = relabel(run.folder, scores, 0.1, rest.folder, "cpu")
    net = list(saved_networks(rest, read_checkpoint(rest), 1).values())[-1].eval()
    source, rows = load_dataset("digits"), np.flatnonzero(t.relabelled)
    with torch.no_grad(): said = [int(net(x).argmax()) for x in source.train.batches([torch.tensor([i]) for i in rows])]
    assert t.label[rows].tolist() == said and repairs(t).wrong_after["relabelled"] < 0.3*len(rows)
    assert set(rest.all_labels.split[rows]) == {"removed"}

@pytest.mark.parametrize("by", ["truth", "model"])
def test_the_files_go_round(made, tmp_path, by):
    run, scores, rest = made
    t = relabel(run.folder, scores, 0.1, rest.folder if by == "model" else None, "cpu")
    for ending in ("csv", "json"): save_repaired(t, tmp_path/f"repaired.{ending}")
    again = run_method(run_dir=str(tmp_path/"again"), noise_file=str(tmp_path/"repaired.csv"), **{k: v for k, v in KW.items() if k not in ("noise", "noise_rate", "probe_size", "epochs")}, probe_size=0, epochs=1)
    assert again.all_labels.given.tolist() == t.label.tolist() == json.loads((tmp_path/"repaired.json").read_text())
    assert again.all_labels.flipped.sum() == repairs(t).wrong_after["all"]
    other = load_dataset("digits").labels[::-1].copy()
    assert "is for another data set or order" in sentence(load_noise, tmp_path/"repaired.csv", other, 10)

def test_equal_scores_and_scores_of_some(tmp_path):
    "Equal ones in the order of the file; what has no score is not suspicious, but counts"
    (tmp_path/"s.csv").write_text("index,score\n7,1\n3,2\n5,1\n9,\n1,0.5\n")
    assert most_suspicious(tmp_path/"s.csv", 10, 0.3).tolist() == [3, 7, 5] and most_suspicious(tmp_path/"s.csv", 10, 0.4).tolist() == [3, 7, 5, 1]
    assert "has scores for 4" in sentence(most_suspicious, tmp_path/"s.csv", 10, 0.5)

def test_refusals(made, tmp_path):
    run, scores, rest = made
    plain = run_method(run_dir=str(tmp_path/"plain"), **KW | dict(noise="none", noise_rate=None, epochs=1))
    other = run_method(run_dir=str(tmp_path/"other"), **KW | dict(epochs=1, data_options=dict(train_size=500)))
    (tmp_path/"text.csv").write_text("index,score\nfirst,1\n"); (tmp_path/"twice.csv").write_text("index,score\n1,1\n1,2\n"); (tmp_path/"far.csv").write_text("index,score\n1437,1\n")
    for args, said in (((run.folder, tmp_path/"no.csv", 0.1), "does not exist"), ((run.folder, scores, 0), "share is 0; a number above 0"), ((run.folder, scores, 1.0), "has scores for"), ((run.folder, tmp_path/"text.csv", 0.1), "must have a whole number as index"),
                       ((run.folder, tmp_path/"twice.csv", 0.1), "index 1 more often than once"), ((run.folder, tmp_path/"far.csv", 0.1), "from 0 to 1436"),
                       ((run.folder, scores, 0.1, run.folder), "would say what it was told"),
                       ((run.folder, scores, 0.1, other.folder), "is of other images"), ((plain.folder, scores, 0.1), "knows of no wrong label"), ((tmp_path, scores, 0.1), "holds no run")):
        assert said in (s := sentence(relabel, *args)) and "\n" not in s, args

def test_the_notebook(made, tmp_path):
    run, scores, rest = made
    before = tree(run.folder)
    done = papermill("debug_labels", tmp_path/"out.ipynb", cold=True, run_dir=run.folder, scores=scores, share=0.1, model_run=rest.folder, yaml=f"out: {tmp_path/'repaired'}", device="cpu")
    assert done.returncode == 0, done.stderr[-2000:]
    t = relabel(run.folder, scores, 0.1, rest.folder, "cpu")
    assert json.loads((tmp_path/"repaired/repaired.json").read_text()) == t.label.tolist() == pd.read_csv(tmp_path/"repaired/repaired.csv").label_noisy.tolist() and tree(run.folder) == before
    text = (tmp_path/"out.ipynb").read_text()
    assert "143 of 1,437 images relabelled by the model" in text and "image/png" in text
    done = papermill("debug_labels", tmp_path/"out.ipynb", run_dir=run.folder, scores=scores, yaml=f"out: {tmp_path/'repaired'}")
    assert done.returncode and "must be a new folder" in done.stderr.strip().splitlines()[-1]
