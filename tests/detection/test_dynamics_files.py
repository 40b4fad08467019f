"""The LSTM study's files, written from a run folder and read into one: what is in them, what comes back, what is
refused."""
from collections import OrderedDict

import numpy as np
import pandas as pd
import pytest
import torch

from conftest import papermill, tree
from noisykit.detection.detectors import detect
from noisykit.detection.dynamics import export_dynamics, import_dynamics, run_or_files
from noisykit.detection.lstm import train_detector
from noisykit.errors import Refused, sentence
from noisykit.record import Run
from noisykit.run import run_method

SMALL = dict(method="ce", dataset="digits", noise="symmetric", noise_rate=0.3, lr=0.05, probe_size=20, epochs=3,
             device="cpu", quiet=True)
FIELDS = ["train_indices", "valid_indices", "true_targets", "assigned_targets", "label_flipped"]
LOG = ["epoch", "train_error", "train_loss", "valid_error", "valid_top5_error", "valid_loss"]

@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return run_method(keep_probs=True, val_share=0.1, run_dir=str(tmp_path_factory.mktemp("td")/"run"), **SMALL)

@pytest.fixture(scope="module")
def files(run): return export_dynamics(run, run.folder.parent/"files")

@pytest.fixture
def broken(files, tmp_path):
    "A copy that a test may spoil"
    for path in files.iterdir(): (tmp_path/path.name).write_bytes(path.read_bytes())
    return tmp_path

def arrays(folder):
    "(probabilities [samples, epochs, classes], the class of each of them, metadata)"
    with np.load(folder/"training_dynamics.npz") as file: td, labels = file["td"], file["labels"]
    return td, labels, torch.load(folder/"metadata.pth", weights_only=True)

def write_metadata(folder, items): torch.save(OrderedDict(items), folder/"metadata.pth")

# ---- what is in them

def test_sizes_and_types(run, files):
    td, labels, metadata = arrays(files)
    samples = len(run.labels)
    assert td.dtype == np.float16
    assert labels.dtype == np.int16
    assert td.shape == (samples, 3, 10)
    assert labels.shape == (samples, 10)
    assert list(metadata) == FIELDS
    assert all(len(metadata[field]) == samples for field in FIELDS if field != "valid_indices")
    assert metadata["label_flipped"].sum() == run.labels.flipped.sum()

def test_rows_by_hand(run, files):
    "The given label comes first, then the others, the most probable in the mean over the epochs first"
    td, labels, metadata = arrays(files)
    for row in (0, 17, len(run.labels) - 1):
        given = run.labels.given[row]
        probs = np.stack([run.samples("probs", epoch)[row] for epoch in (1, 2, 3)]).astype(float)
        others = sorted(set(range(10)) - {given}, key=lambda label: -probs[:, label].mean())
        assert labels[row].tolist() == [given, *others]
        assert np.array_equal(td[row], probs[:, labels[row]].astype(np.float16))
        assert metadata["train_indices"][row] == run.labels["index"][row]
        assert metadata["true_targets"][row] == run.labels.true[row]

def test_the_log(run, files):
    log = pd.read_csv(files/"train_log.csv", dtype=dict(epoch=str))
    assert log.columns.tolist() == LOG
    assert log.epoch.tolist() == ["001", "002", "003"]
    assert np.allclose(1 - log.valid_error, run.metrics.valid_accuracy)
    assert np.allclose(log.train_loss, run.metrics.train_loss)

def test_without_a_validation_split(tmp_path):
    "And without the probabilities of all classes"
    run = run_method(run_dir=str(tmp_path/"run"), **SMALL)
    td, labels, metadata = arrays(export_dynamics(run, tmp_path/"files"))
    assert td.shape == (len(run.labels), 3, 1)
    assert (labels[:, 0] == run.labels.given).all()
    assert not len(metadata["valid_indices"])
    results = pd.read_csv(tmp_path/"files/results_test.csv")
    assert results.columns.tolist() == ["index", "Loss", "Prediction", "Confidence", "Label"]
    assert len(results) == 360
    assert (results.Prediction == results.Label).mean() == pytest.approx(run.metrics.test_accuracy.iloc[-1])
    back = import_dynamics(tmp_path/"files", tmp_path/"back")
    assert np.abs(back.samples("given_prob") - run.samples("given_prob")).max() < 5e-4
    assert np.allclose(back.metrics.test_accuracy, run.metrics.test_accuracy)
    assert not back.has("margin")
    before, after = (train_detector(either, epochs=1).about["history"][0]["auc"] for either in (run, back))
    assert abs(before - after) < 0.01

def test_the_largest_probabilities(tmp_path):
    run = run_method(keep_probs=3, val_share=0.1, run_dir=str(tmp_path/"run"), **SMALL)
    td, labels, _ = arrays(export_dynamics(run, tmp_path/"files"))
    given = run.labels.given.to_numpy()
    assert td.shape == (len(given), 3, 3)
    assert (labels[:, 0] == given).all()
    assert np.abs(td[:, :, 0] - run.samples("given_prob").T).max() < 5e-4
    probs, classes = run.samples("probs", 2), run.samples("classes", 2)
    kept = classes[:, :, None] == labels[:, None, 1:]   # a class beyond the three of an epoch is 0 there
    assert (td[:, 1, 1:] == (probs[:, :, None]*kept).sum(1)).all()
    assert 0.5 < kept.any(1).mean() < 1
    results = pd.read_csv(tmp_path/"files/results_valid.csv")
    held = run.all_labels.query("split == 'valid'")
    assert (results["index"] == held["index"].to_numpy()).all()
    assert (results.Label == held.given.to_numpy()).all()
    back = import_dynamics(tmp_path/"files", tmp_path/"back")
    assert back.samples("probs", -1).shape == (len(given), 3)
    assert (back.samples("given_prob", 2) == td[:, 1, 0]).all()

# ---- what comes back

def test_there_and_back(run, files, tmp_path):
    "Labels, splits, probabilities and detectors' rankings; the files of what came back are the first ones"
    back = import_dynamics(files, tmp_path/"back")
    assert back.config["method"] == "imported"
    assert back.finished
    assert (back.samples("probs") == run.samples("probs")).all()
    columns = ["index", "given", "true", "flipped"]
    assert (back.labels[columns].to_numpy() == run.labels[columns].to_numpy()).all()
    splits = dict(train=len(run.labels), valid=(run.all_labels.split == "valid").sum(), absent=20)
    assert back.all_labels.split.value_counts().to_dict() == splits
    for name in ("confidence", "aum", "loss", "lstm"):
        before, after = (detect(either, name).set_index("index").score.sort_index() for either in (run, back))
        assert (before.index == after.index).all()
        assert before.corr(after, method="spearman") > 0.999, name
    again = export_dynamics(back, tmp_path/"again")
    for after, before in zip(arrays(again)[:2], arrays(files)[:2]): assert (after == before).all()

def test_any_order(files, tmp_path, broken):
    "train_indices is a permutation in the study: a row belongs to its index, wherever it stands"
    td, labels, metadata = arrays(files)
    order = np.random.default_rng(0).permutation(len(td))
    np.savez(broken/"training_dynamics.npz", td=td[order], labels=labels[order])
    del metadata["assigned_targets"]   # as the study's README has it
    write_metadata(broken, {field: values if field == "valid_indices" else values[order]
                            for field, values in metadata.items()})
    usual, permuted = import_dynamics(files, tmp_path/"usual"), import_dynamics(broken, tmp_path/"permuted")
    assert usual.labels.equals(permuted.labels)
    for name in ("given_prob", "margin", "probs"): assert (usual.samples(name) == permuted.samples(name)).all()

def test_fewer_channels(files, tmp_path, broken):
    "Predictions stay where the classes that are left are sure; margins can only be too large"
    td, labels, _ = arrays(files)
    np.savez(broken/"training_dynamics.npz", td=td[:, :, :4], labels=labels[:, :4])
    whole, few = import_dynamics(files, tmp_path/"whole"), import_dynamics(broken, tmp_path/"few")
    last = few.samples("probs", -1).astype(float)
    assert last.shape == (len(td), 4)
    assert (np.diff(last) <= 0).all()
    classes = few.samples("classes", 2).astype(int)
    assert (np.take_along_axis(whole.samples("probs", 2), classes, 1) == few.samples("probs", 2)).all()
    sure = (last.sum(1) > 0.9) & (few.samples("max_prob", -1) > 0.11)
    assert (few.samples("prediction", -1) == whole.samples("prediction", -1))[sure].all()
    assert (last.sum(1) > 0.9).any()
    assert (few.samples("margin") >= whole.samples("margin")).all()
    assert detect(few, "aum").score.notna().all()

# ---- what is refused

@pytest.mark.parametrize("name", ["training_dynamics.npz", "metadata.pth", "train_log.csv"])
def test_a_broken_or_missing_file(broken, tmp_path, name):
    "The log may be missing"
    (broken/name).write_bytes(b"PK")
    assert name in sentence(import_dynamics, broken, tmp_path/"new")
    assert not (tmp_path/"new").exists()
    (broken/name).unlink()
    if name != "train_log.csv": assert name in sentence(import_dynamics, broken, tmp_path/"new")

def test_files_that_do_not_go_together(files, broken, tmp_path):
    td, labels, metadata = arrays(files)
    write_metadata(broken, {field: values.flip(0) for field, values in metadata.items()})   # another run's order
    assert "not of one run" in sentence(import_dynamics, broken, tmp_path/"new")
    write_metadata(broken, {field: values[:-1] for field, values in metadata.items()})
    assert "not of one run" in sentence(import_dynamics, broken, tmp_path/"new")
    np.savez(broken/"training_dynamics.npz", td=td.transpose(0, 2, 1)[:, :4], labels=labels)
    assert "td must be [samples, epochs, channels]" in sentence(import_dynamics, broken, tmp_path/"new")

def test_folders_that_are_refused(run, files, tmp_path):
    assert "must be new" in sentence(import_dynamics, files, run.folder)
    assert "already has" in sentence(export_dynamics, run, files)
    assert "holds no run" in sentence(run_or_files, run.folder.parent, tmp_path/"new")

def test_an_imported_run_is_not_trained_on(files, tmp_path):
    back = import_dynamics(files, tmp_path/"back")
    before = tree(back.folder)
    with pytest.raises(Refused, match="another configuration"): run_method(run_dir=str(back.folder), **SMALL)
    with pytest.raises(Refused, match="unknown method 'imported'"):
        run_method(**SMALL | dict(method="imported"), run_dir=str(tmp_path/"run"))
    after = {path: content for path, content in tree(back.folder).items() if ".lock" not in path}
    assert after == before

def test_the_notebook(run, tmp_path):
    done = papermill("exchange_dynamics", tmp_path/"out.ipynb", run_dir=run.folder, folder=tmp_path/"files")
    assert done.returncode == 0, done.stderr[-3000:]
    done = papermill("exchange_dynamics", tmp_path/"out.ipynb", run_dir=tmp_path/"back", folder=tmp_path/"files",
                    way="import")
    assert done.returncode == 0, done.stderr[-3000:]
    assert Run(tmp_path/"back").finished
