"""Suspicious labels get another one, and files say so: whole runs on scikit-learn's digits, and the notebook."""
import json

import numpy as np
import pandas as pd
import pytest
import torch

from conftest import SMALL, papermill, tree
from noisykit.audit.relabel import most_suspicious, relabel, repairs, save_repaired
from noisykit.data.noise import load_noise
from noisykit.data.source import load_dataset
from noisykit.detection.detectors import detect, write_scores
from noisykit.errors import sentence
from noisykit.numerics import count_of
from noisykit.run import run_method
from noisykit.train.checkpoint import read_checkpoint, saved_networks
from notebooks import last_line

SETTINGS = SMALL | dict(method="ce", noise_rate=0.4, probe_size=30, lr=0.05, quiet=True)

def train(folder, **settings): return run_method(run_dir=str(folder), **SETTINGS | settings)

@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(a run with a probe and a validation split, a detector's scores of its training split, a run on the least
    suspicious samples)"""
    folder = tmp_path_factory.mktemp("relabel")
    run = train(folder/"run", val_share=0.1, epochs=4)
    scores = write_scores(run, "loss", detect(run, "loss"))
    rest = train(folder/"rest", val_share=0.1, scores_file=str(scores), remove_ratio=0.4, epochs=4)
    return run, scores, rest

# ---- who is relabelled, and what becomes of it

@pytest.mark.parametrize("share", [0.05, 0.1])
def test_by_truth(made, share):
    run, scores, _ = made
    table, given = relabel(run.folder, scores, share), run.all_labels.given
    changed, ranked = table.relabelled, pd.read_csv(scores)
    assert table.index[changed].tolist() == sorted(ranked["index"][:count_of(share, len(given))])
    assert table["index"].tolist() == list(range(len(given)))
    assert (table.label[changed] == table.true[changed]).all()
    assert (table.label[~changed] == given[~changed]).all()
    counts = repairs(table)
    assert counts.loc["relabelled", ["images", "wrong_after"]].tolist() == [changed.sum(), 0]
    assert counts.wrong_before["all"] == run.all_labels.flipped.sum()
    assert counts.wrong_after["all"] == counts.wrong_before["all"] - counts.wrong_before["relabelled"]
    assert counts.wrong_before["relabelled"] > 0.9*changed.sum()

def test_by_model(made):
    "What the saved network says of each picture, one at a time, and mostly right"
    run, scores, rest = made
    table = relabel(run.folder, scores, 0.1, rest.folder, "cpu")
    net = list(saved_networks(rest, read_checkpoint(rest), 1).values())[-1].eval()
    pictures, rows = load_dataset("digits").train, np.flatnonzero(table.relabelled)
    one_at_a_time = [torch.tensor([i]) for i in rows]
    with torch.no_grad(): said = [int(net(x).argmax()) for x in pictures.batches(one_at_a_time)]
    assert table.label[rows].tolist() == said
    assert repairs(table).wrong_after["relabelled"] < 0.3*len(rows)
    assert set(rest.all_labels.split[rows]) == {"removed"}

@pytest.mark.parametrize("by", ["truth", "model"])
def test_a_run_takes_the_file(made, tmp_path, by):
    run, scores, rest = made
    table = relabel(run.folder, scores, 0.1, rest.folder if by == "model" else None, "cpu")
    for ending in ("csv", "json"): save_repaired(table, tmp_path/f"repaired.{ending}")
    again = train(tmp_path/"again", noise_file=str(tmp_path/"repaired.csv"), noise=None, noise_rate=None,
                  probe_size=0, epochs=1)
    assert again.all_labels.given.tolist() == table.label.tolist()
    assert json.loads((tmp_path/"repaired.json").read_text()) == table.label.tolist()
    assert again.all_labels.flipped.sum() == repairs(table).wrong_after["all"]
    other = load_dataset("digits").labels[::-1].copy()
    assert "is for another data set or order" in sentence(load_noise, tmp_path/"repaired.csv", other, 10)

def test_equal_scores_and_scores_of_some(tmp_path):
    "Equal ones in the order of the file; what has no score is not suspicious, but counts"
    (tmp_path/"scores.csv").write_text("index,score\n7,1\n3,2\n5,1\n9,\n1,0.5\n")
    assert most_suspicious(tmp_path/"scores.csv", 10, 0.3).tolist() == [3, 7, 5]
    assert most_suspicious(tmp_path/"scores.csv", 10, 0.4).tolist() == [3, 7, 5, 1]
    assert "has scores for 4" in sentence(most_suspicious, tmp_path/"scores.csv", 10, 0.5)

# ---- what is refused

def refusal(*args):
    said = sentence(relabel, *args)
    assert "\n" not in said
    return said

FILES = [
    ("first,1\n", "must have a whole number as index"),
    ("1,1\n1,2\n", "index 1 more often than once"),
    ("1437,1\n", "from 0 to 1436"),
]

def test_wrong_scores(made, tmp_path):
    run, scores, _ = made
    assert "does not exist" in refusal(run.folder, tmp_path/"no.csv", 0.1)
    assert "share is 0; a number above 0" in refusal(run.folder, scores, 0)
    assert "has scores for" in refusal(run.folder, scores, 1.0)
    for rows, said in FILES:
        (tmp_path/"scores.csv").write_text(f"index,score\n{rows}")
        assert said in refusal(run.folder, tmp_path/"scores.csv", 0.1)

def test_wrong_runs(made, tmp_path):
    run, scores, _ = made
    plain = train(tmp_path/"plain", noise="none", noise_rate=None, epochs=1)
    other = train(tmp_path/"other", epochs=1, data_options=dict(train_size=500))
    assert "would say what it was told" in refusal(run.folder, scores, 0.1, run.folder)
    assert "is of other images" in refusal(run.folder, scores, 0.1, other.folder)
    assert "knows of no wrong label" in refusal(plain.folder, scores, 0.1)
    assert "holds no run" in refusal(tmp_path, scores, 0.1)

# ---- the notebook

def test_the_notebook(made, tmp_path):
    run, scores, rest = made
    before, out = tree(run.folder), f"out: {tmp_path/'repaired'}"
    done = papermill("debug_labels", tmp_path/"out.ipynb", out, cold=True, run_dir=run.folder, scores=scores,
                     share=0.1, model_run=rest.folder, device="cpu")
    assert done.returncode == 0, done.stderr[-2000:]
    expected = relabel(run.folder, scores, 0.1, rest.folder, "cpu").label.tolist()
    assert json.loads((tmp_path/"repaired/repaired.json").read_text()) == expected
    assert pd.read_csv(tmp_path/"repaired/repaired.csv").label_noisy.tolist() == expected
    assert tree(run.folder) == before
    text = (tmp_path/"out.ipynb").read_text()
    assert "144 of 1,437 images relabelled by the model" in text
    assert "image/png" in text
    done = papermill("debug_labels", tmp_path/"out.ipynb", out, run_dir=run.folder, scores=scores)   # a second time
    assert done.returncode
    assert "must be a new folder" in last_line(done)
