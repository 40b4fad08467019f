"""The LSTM detector: its start, what it learns, its file, and that it finds flips on data it has not seen."""
import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from conftest import papermill
from noisykit.detection.detectors import detect
from noisykit.detection.lstm import LSTM, SHIPPED, at_moments, known_curves, load_detector, train_detector
from noisykit.errors import sentence
from noisykit.record import Run
from noisykit.run import run_method
from noisykit.streams import torch_stream

SMALL = dict(method="ce", dataset="digits", lr=0.05, probe_size=0, device="cpu", quiet=True)

@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lstm")/"run"
    return run_method(noise="symmetric", noise_rate=0.3, epochs=8, run_dir=str(folder), **SMALL)

@pytest.fixture(scope="module")
def found(run): return train_detector(run, epochs=4)

# ---- the network

def test_its_size():
    shapes = {name: tuple(values.shape) for name, values in LSTM(torch_stream(0, "start")).named_parameters()}
    assert shapes["lstm.weight_ih_l0"] == (256, 1)
    assert shapes["lstm.weight_hh_l1"] == (256, 64)
    assert shapes["fc.weight"] == (2, 64)
    assert len(shapes) == 10

def test_its_start():
    "Orthogonal weights and small biases below the last layer, and always the same"
    net, again = LSTM(torch_stream(0, "start")), LSTM(torch_stream(0, "start"))
    for values in net.lstm.parameters():
        if values.dim() == 1:
            assert (values == 0.01).all()
            continue
        tall = values if values.shape[0] >= values.shape[1] else values.T
        assert torch.allclose(tall.T @ tall, torch.eye(tall.shape[1]), atol=1e-5)
    assert all(torch.equal(one, other) for one, other in zip(net.parameters(), again.parameters()))

def test_the_last_moment_decides():
    net, x = LSTM(torch_stream(0, "start")), torch.rand(3, 9)
    out, _ = net.lstm(x[..., None])
    assert torch.equal(net(x), net.fc(out[:, -1]))

def test_curves_of_another_length():
    "They are interpolated; those of the right length are left alone"
    curves = np.random.default_rng(0).random((3, 9)).astype(np.float32)
    assert at_moments(curves, None) is curves
    assert at_moments(curves, 9) is curves
    for moments in (1, 4, 30):
        want = [np.interp(np.linspace(0, 8, moments), np.arange(9), curve) for curve in curves]
        assert np.allclose(at_moments(curves, moments), want, atol=1e-6)

# ---- what it learns

def test_samples_that_were_held_out(found):
    held = found.about["held_out"]
    assert held["auc"] > 0.95
    assert held["samples"] == 143
    assert found.about["moments"] == 8

def test_another_data_set(run, found):
    "Other pictures, another law, half as many epochs again"
    settings = SMALL | dict(dataset="mnist5k", data_options=dict(train_size=300, test_size=50))
    other = run_method(noise="asymmetric", noise_rate=0.2, epochs=12, run_dir=str(run.folder.parent/"other"),
                       **settings)
    assert roc_auc_score(other.labels.flipped, found.score(other.samples("given_prob").T)) > 0.8

def test_another_number_of_classes(run, found):
    "Binary labels, even or odd: a probability among two classes begins at one half"
    curves, flipped = known_curves(run)
    assert roc_auc_score(flipped, found.score(0.5 + curves/2)) > 0.8

def test_the_same_again(run, found):
    again = train_detector(run.folder, epochs=4)
    assert again.about == found.about
    assert all(torch.equal(one, other) for one, other in zip(again.net.parameters(), found.net.parameters()))
    first, second = (train_detector(run, epochs=1, seed=seed).about["history"] for seed in (1, 42))
    assert first != second

def test_the_best_epoch_is_kept(found):
    best = max(found.about["history"], key=lambda epoch: epoch["accuracy"])
    assert found.state["epoch"] == best["epoch"]
    assert found.state["best_prec"] == best["accuracy"]
    assert found.state["optimizer"]["param_groups"][0]["lr"] == 0.001

def test_a_sample_without_a_curve(run, found):
    curves = run.samples("given_prob").T.copy()
    curves[5, 2] = np.nan
    score = found.score(curves)
    assert np.isnan(score[5])
    assert not np.isnan(np.delete(score, 5)).any()

# ---- files

@pytest.fixture
def saved(found, tmp_path):
    found.save(tmp_path/"a_lstm_detector.pth.tar")
    return tmp_path/"a_lstm_detector.pth.tar"

def test_its_file(run, found, saved):
    assert {"epoch", "state_dict", "best_prec", "optimizer"} < set(torch.load(saved, weights_only=True))
    curves = run.samples("given_prob").T
    assert (load_detector(saved).score(curves) == found.score(curves)).all()

def test_the_study_s_file(run, found, saved, tmp_path):
    "Its names are those of a network in DataParallel, with another name for the last layer"
    ours = torch.load(saved, weights_only=True)
    state = {f"module.{name.replace('fc', 'classifier')}": values for name, values in ours["state_dict"].items()}
    theirs = dict(epoch=ours["epoch"], optimizer=ours["optimizer"], best_prec=np.float64(0.9), state_dict=state)
    torch.save(theirs, tmp_path/"theirs.pth.tar")
    curves = run.samples("given_prob").T
    assert np.allclose(load_detector(tmp_path/"theirs.pth.tar").score(curves), found.score(curves))

def test_training_goes_on_from_a_file(run, found, saved):
    tuned = train_detector(run, resume=saved, epochs=1)
    assert tuned.about["history"][0]["loss"] < found.about["history"][0]["loss"]/2   # it does not begin anew
    assert tuned.about["settings"]["resume"] == "a_lstm_detector.pth.tar"

def test_the_one_in_the_package(run):
    assert SHIPPED.stat().st_size < 300_000
    table = detect(run, "lstm")
    assert roc_auc_score(table.flipped, table.score) > 0.9
    assert table.called[table.flipped].mean() > 2*table.called[~table.flipped].mean()
    assert (detect(run, "lstm", file=str(SHIPPED)).score == table.score).all()

# ---- what is refused

def test_runs_without_flips(run, tmp_path):
    clean = run_method(noise="none", epochs=1, run_dir=str(tmp_path/"clean"), **SMALL)
    for runs in (clean, [run, clean]): assert "knows of no flipped label" in sentence(train_detector, runs)

WRONG = dict(epochs=0, lr=float("inf"), batch_size=1.5, grad_clip=-1.0, seed=-1)

@pytest.mark.parametrize("name, value", WRONG.items())
def test_wrong_settings(run, name, value): assert name in sentence(train_detector, run, **{name: value})

def test_wrong_files(run, tmp_path):
    (tmp_path/"broken.pth.tar").write_bytes(b"PK")
    small = torch.nn.LSTM(1, 8, 2).state_dict()
    torch.save(dict(epoch=1, best_prec=1.0, optimizer={}, state_dict=small), tmp_path/"small.pth.tar")
    for name in ("broken", "small"):
        assert "cannot be read as an LSTM detector" in sentence(load_detector, tmp_path/f"{name}.pth.tar")
    assert "does not exist" in sentence(detect, run, "lstm", file=str(tmp_path/"no.pth.tar"))

# ---- the notebook

def test_the_notebook(run, tmp_path):
    out = tmp_path/"new/digits_lstm_detector.pth.tar"
    done = papermill("train_detector", tmp_path/"out.ipynb", f"out: {out}", runs=run.folder, epochs=2)
    assert done.returncode == 0, done.stderr[-3000:]
    assert load_detector(out).about == train_detector(Run(run.folder), epochs=2).about
    done = papermill("train_detector", tmp_path/"out.ipynb", f"out: {out}", runs=run.folder)
    assert done.returncode
    assert "exists already" in done.stderr
