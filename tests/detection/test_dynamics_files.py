"""The LSTM study's files, written from a run folder and read into one: what is in them, that nothing is lost on the way, and what is refused."""
from collections import OrderedDict

import numpy as np
import pandas as pd
import pytest
import torch

from conftest import papermill, tree
from noisykit.errors import sentence
from noisykit.detection.detectors import detect
from noisykit.detection.dynamics import export_dynamics, import_dynamics, run_or_files
from noisykit.detection.lstm import train_detector
from noisykit.record import Run
from noisykit.errors import Refused
from noisykit.run import run_method

SMALL = dict(method="ce", dataset="digits", noise="symmetric", noise_rate=0.3, lr=0.05, probe_size=20, epochs=3, device="cpu", quiet=True)
FIELDS = ["train_indices", "valid_indices", "true_targets", "assigned_targets", "label_flipped"]

@pytest.fixture(scope="module")
def run(tmp_path_factory): return run_method(keep_probs=True, val_share=0.1, run_dir=str(tmp_path_factory.mktemp("td")/"run"), **SMALL)

@pytest.fixture(scope="module")
def files(run): return export_dynamics(run, run.folder.parent/"files")

@pytest.fixture
def broken(files, tmp_path):
    "A copy that a test may spoil"
    for p in files.iterdir(): (tmp_path/p.name).write_bytes(p.read_bytes())
    return tmp_path

def arrays(folder):
    with np.load(folder/"training_dynamics.npz") as z: return z["td"], z["labels"], torch.load(folder/"metadata.pth", weights_only=True)

def test_what_is_in_them(run, files):
    td, labels, meta = arrays(files)
    N, given = len(run.labels), run.labels.given.to_numpy()
    assert td.dtype == np.float16 and labels.dtype == np.int16 and td.shape == (N, 3, 10) and labels.shape == (N, 10)
    assert list(meta) == FIELDS and all(len(meta[k]) == N for k in FIELDS if k != "valid_indices") and meta["label_flipped"].sum() == run.labels.flipped.sum()
    for row in (0, 17, N - 1): # by hand
        probs = np.stack([run.samples("probs", e)[row] for e in (1, 2, 3)]).astype(float)
        rest = sorted(set(range(10)) - {given[row]}, key=lambda c: -probs[:, c].mean())
        assert labels[row].tolist() == [given[row], *rest] and np.array_equal(td[row], probs[:, labels[row]].astype(np.float16))
        assert meta["train_indices"][row] == run.labels["index"][row] and meta["true_targets"][row] == run.labels.true[row]
    log = pd.read_csv(files/"train_log.csv", dtype=dict(epoch=str))
    assert log.columns.tolist() == ["epoch", "train_error", "train_loss", "valid_error", "valid_top5_error", "valid_loss"] and log.epoch.tolist() == ["001", "002", "003"]
    assert np.allclose(1 - log.valid_error, run.metrics.valid_accuracy) and np.allclose(log.train_loss, run.metrics.train_loss)

def test_without_a_validation_split(tmp_path):
    run = run_method(run_dir=str(tmp_path/"run"), **SMALL) # and without the probabilities of all classes
    td, labels, meta = arrays(export_dynamics(run, tmp_path/"files"))
    assert td.shape == (len(run.labels), 3, 1) and (labels[:, 0] == run.labels.given).all() and not len(meta["valid_indices"])
    results = pd.read_csv(tmp_path/"files/results_test.csv")
    assert results.columns.tolist() == ["index", "Loss", "Prediction", "Confidence", "Label"] and len(results) == 360
    assert (results.Prediction == results.Label).mean() == pytest.approx(run.metrics.test_accuracy.iloc[-1])
    back = import_dynamics(tmp_path/"files", tmp_path/"back")
    assert np.abs(back.samples("given_prob") - run.samples("given_prob")).max() < 5e-4 and np.allclose(back.metrics.test_accuracy, run.metrics.test_accuracy)
    assert not back.has("margin")
    a, b = (train_detector(r, epochs=1).about["history"][0]["auc"] for r in (run, back))
    assert abs(a - b) < 0.01

def test_the_largest_probabilities(tmp_path):
    run = run_method(keep_probs=3, val_share=0.1, run_dir=str(tmp_path/"run"), **SMALL)
    td, labels, _ = arrays(export_dynamics(run, tmp_path/"files"))
    given = run.labels.given.to_numpy()
    assert td.shape == (len(given), 3, 3) and (labels[:, 0] == given).all() and np.abs(td[:, :, 0] - run.samples("given_prob").T).max() < 5e-4
    probs, classes = run.samples("probs", 2), run.samples("classes", 2)
    kept = (classes[:, :, None] == labels[:, None, 1:]) # a class beyond the three of an epoch is 0 there
    assert (td[:, 1, 1:] == (probs[:, :, None]*kept).sum(1)).all() and 0.5 < kept.any(1).mean() < 1
    results = pd.read_csv(tmp_path/"files/results_valid.csv")
    held = run.all_labels.query("split == 'valid'")
    assert (results["index"] == held["index"].to_numpy()).all() and (results.Label == held.given.to_numpy()).all()
    back = import_dynamics(tmp_path/"files", tmp_path/"back")
    assert back.samples("probs", -1).shape == (len(given), 3) and (back.samples("given_prob", 2) == td[:, 1, 0]).all()

def test_round_trip(run, files, tmp_path):
    back = import_dynamics(files, tmp_path/"back")
    assert back.config["method"] == "imported" and back.finished and (back.samples("probs") == run.samples("probs")).all()
    assert (back.labels[["index", "given", "true", "flipped"]].to_numpy() == run.labels[["index", "given", "true", "flipped"]].to_numpy()).all()
    assert back.all_labels.split.value_counts().to_dict() == {"train": len(run.labels), "valid": (run.all_labels.split == "valid").sum(), "absent": 20}
    for name in ("confidence", "aum", "loss", "lstm"):
        a, b = (detect(r, name).set_index("index").score.sort_index() for r in (run, back))
        assert (a.index == b.index).all() and a.corr(b, method="spearman") > 0.999, name
    again = export_dynamics(back, tmp_path/"again")
    for a, b in zip(arrays(again)[:2], arrays(files)[:2]): assert (a == b).all()

def test_any_order(files, tmp_path, broken):
    "train_indices is a permutation in the study: a row belongs to its index, wherever it stands"
    td, labels, meta = arrays(files)
    order = np.random.default_rng(0).permutation(len(td))
    np.savez(broken/"training_dynamics.npz", td=td[order], labels=labels[order])
    torch.save(OrderedDict((k, v if k == "valid_indices" else v[order]) for k, v in meta.items() if k != "assigned_targets"), broken/"metadata.pth") # as its README has it
    a, b = (import_dynamics(f, tmp_path/n) for f, n in ((files, "a"), (broken, "b")))
    assert a.labels.equals(b.labels) and all((a.samples(k) == b.samples(k)).all() for k in ("given_prob", "margin", "probs"))

def test_fewer_channels(files, tmp_path, broken):
    td, labels, _ = arrays(files)
    np.savez(broken/"training_dynamics.npz", td=td[:, :, :4], labels=labels[:, :4])
    whole, few = (import_dynamics(f, tmp_path/n) for f, n in ((files, "a"), (broken, "b")))
    assert few.samples("probs", -1).shape == (len(td), 4) and (np.diff(few.samples("probs", -1).astype(float)) <= 0).all()
    assert (np.take_along_axis(whole.samples("probs", 2), few.samples("classes", 2).astype(int), 1) == few.samples("probs", 2)).all()
    sure = few.samples("probs", -1).astype(float).sum(1) > 0.9
    same = few.samples("max_prob", -1) > 0.11
    assert (few.samples("prediction", -1) == whole.samples("prediction", -1))[sure & same].all() and sure.any()
    assert (few.samples("margin") >= whole.samples("margin")).all() # the largest other class may be missing, never too much
    assert detect(few, "aum").score.notna().all()

@pytest.mark.parametrize("name", ["training_dynamics.npz", "metadata.pth", "train_log.csv"])
def test_broken(broken, tmp_path, name):
    (broken/name).write_bytes(b"PK")
    assert name in sentence(import_dynamics, broken, tmp_path/"new") and not (tmp_path/"new").exists()
    (broken/name).unlink()
    if name != "train_log.csv": assert name in sentence(import_dynamics, broken, tmp_path/"new")

def test_refused(run, files, broken, tmp_path):
    td, labels, meta = arrays(files)
    torch.save(OrderedDict((k, v.flip(0)) for k, v in meta.items()), broken/"metadata.pth") # another run's order
    assert "not of one run" in sentence(import_dynamics, broken, tmp_path/"new")
    torch.save(OrderedDict((k, v[:-1]) for k, v in meta.items()), broken/"metadata.pth")
    assert "not of one run" in sentence(import_dynamics, broken, tmp_path/"new")
    np.savez(broken/"training_dynamics.npz", td=td.transpose(0, 2, 1)[:, :4], labels=labels)
    assert "td must be [samples, epochs, channels]" in sentence(import_dynamics, broken, tmp_path/"new")
    assert "must be new" in sentence(import_dynamics, files, run.folder) and "already has" in sentence(export_dynamics, run, files)
    assert "holds no run" in sentence(run_or_files, run.folder.parent, tmp_path/"new")
    back = import_dynamics(files, tmp_path/"back")
    before = tree(back.folder)
    with pytest.raises(Refused, match="another configuration"): run_method(run_dir=str(back.folder), **SMALL)
    with pytest.raises(Refused, match="unknown method 'imported'"): run_method(**SMALL | dict(method="imported"), run_dir=str(tmp_path/"run"))
    assert {k: v for k, v in tree(back.folder).items() if ".lock" not in k} == before

def test_papermill(run, tmp_path):
    for params in (dict(run_dir=run.folder, folder=tmp_path/"files"), dict(run_dir=tmp_path/"back", folder=tmp_path/"files", way="import")):
        done = papermill("exchange_dynamics", tmp_path/"out.ipynb", **params)
        assert done.returncode == 0, done.stderr[-3000:]
    assert Run(tmp_path/"back").finished
