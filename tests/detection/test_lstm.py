"""The LSTM detector: its start, what it learns, its file, and that it finds flips on data it has not seen."""
import numpy as np
import pytest
import torch

from conftest import papermill
from noisykit.errors import sentence
from noisykit.detection.detectors import detect
from noisykit.detection.lstm import LSTM, SHIPPED, at_moments, known_curves, load_detector, train_detector
from noisykit.streams import torch_stream
from noisykit.record import Run
from noisykit.run import run_method
from sklearn.metrics import roc_auc_score

SMALL = dict(method="ce", dataset="digits", lr=0.05, probe_size=0, device="cpu", quiet=True)

@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return run_method(noise="symmetric", noise_rate=0.3, epochs=8, run_dir=str(tmp_path_factory.mktemp("lstm")/"run"), **SMALL)

@pytest.fixture(scope="module")
def found(run): return train_detector(run, epochs=4)

def auc(run, score): return roc_auc_score(run.labels.flipped, score)

def test_start():
    net = LSTM(torch_stream(0, "start"))
    shapes = {k: tuple(p.shape) for k, p in net.named_parameters()}
    assert shapes["lstm.weight_ih_l0"] == (256, 1) and shapes["lstm.weight_hh_l1"] == (256, 64) and shapes["fc.weight"] == (2, 64) and len(shapes) == 10
    for p in net.lstm.parameters():
        if p.dim() == 1: assert (p == 0.01).all()
        else:
            tall = p if p.shape[0] >= p.shape[1] else p.T
            assert torch.allclose(tall.T @ tall, torch.eye(tall.shape[1]), atol=1e-5)
    again = LSTM(torch_stream(0, "start"))
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), again.parameters()))
    x = torch.rand(3, 9)
    out, _ = net.lstm(x[..., None])
    assert torch.equal(net(x), net.fc(out[:, -1]))

def test_learns_what_it_has_not_seen(run, found):
    held = found.about["held_out"]
    assert held["auc"] > 0.95 and held["samples"] == 143 and found.about["moments"] == 8
    other = dict(SMALL, dataset="mnist5k", data_options=dict(train_size=300, test_size=50)) # other pictures, another law, half as many epochs again
    other = run_method(noise="asymmetric", noise_rate=0.2, epochs=12, run_dir=str(run.folder.parent/"other"), **other)
    assert auc(other, found.score(other.samples("given_prob").T)) > 0.8

def test_another_number_of_classes(run, found):
    "Binary labels: even or odd"
    curves, flipped = known_curves(run)
    two = found.score(0.5 + curves/2) # a probability among two classes begins at one half
    assert roc_auc_score(flipped, two) > 0.8

def test_as_often_as_one_likes(run, found):
    again = train_detector(run.folder, epochs=4)
    assert again.about == found.about and all(torch.equal(a, b) for a, b in zip(again.net.parameters(), found.net.parameters()))
    assert train_detector(run, epochs=1, seed=1).about["history"] != train_detector(run, epochs=1).about["history"]

def test_best_epoch_is_kept(found):
    best = max(found.about["history"], key=lambda h: h["accuracy"])
    assert found.state["epoch"] == best["epoch"] and found.state["best_prec"] == best["accuracy"] and found.state["optimizer"]["param_groups"][0]["lr"] == 0.001

def test_file(run, found, tmp_path):
    found.save(tmp_path/"a_lstm_detector.pth.tar")
    saved = torch.load(tmp_path/"a_lstm_detector.pth.tar", weights_only=True)
    assert {"epoch", "state_dict", "best_prec", "optimizer"} < set(saved)
    curves = run.samples("given_prob").T
    assert (load_detector(tmp_path/"a_lstm_detector.pth.tar").score(curves) == found.score(curves)).all()
    theirs = {k: saved[k] for k in ("epoch", "optimizer")} | dict(best_prec=np.float64(0.9), state_dict={"module." + k.replace("fc", "classifier"): v for k, v in saved["state_dict"].items()})
    torch.save(theirs, tmp_path/"theirs.pth.tar")
    assert np.allclose(load_detector(tmp_path/"theirs.pth.tar").score(curves), found.score(curves))
    tuned = train_detector(run, resume=tmp_path/"a_lstm_detector.pth.tar", epochs=1)
    assert tuned.about["history"][0]["loss"] < found.about["history"][0]["loss"]/2 # it does not begin anew
    assert tuned.about["settings"]["resume"] == "a_lstm_detector.pth.tar"

def test_moments():
    curves = np.random.default_rng(0).random((3, 9)).astype(np.float32)
    assert at_moments(curves, None) is curves and at_moments(curves, 9) is curves
    for T in (1, 4, 30):
        want = [np.interp(np.linspace(0, 8, T), np.arange(9), c) for c in curves]
        assert np.allclose(at_moments(curves, T), want, atol=1e-6)

def test_a_sample_without_a_curve(run, found):
    curves = run.samples("given_prob").T.copy()
    curves[5, 2] = np.nan
    score = found.score(curves)
    assert np.isnan(score[5]) and not np.isnan(np.delete(score, 5)).any()

def test_shipped(run):
    assert SHIPPED.stat().st_size < 300_000
    table = detect(run, "lstm")
    assert roc_auc_score(table.flipped, table.score) > 0.9 and table.called[table.flipped].mean() > 2*table.called[~table.flipped].mean()
    mine = detect(run, "lstm", file=str(SHIPPED))
    assert (mine.score == table.score).all()

def test_refused(run, tmp_path):
    clean = run_method(noise="none", epochs=1, run_dir=str(tmp_path/"clean"), **SMALL)
    assert "knows of no flipped label" in sentence(train_detector, clean) and "knows of no flipped label" in sentence(train_detector, [run, clean])
    for bad in (dict(epochs=0), dict(lr=float("inf")), dict(batch_size=1.5), dict(grad_clip=-1.0), dict(seed=-1)): assert next(iter(bad)) in sentence(train_detector, run, **bad)
    (tmp_path/"broken.pth.tar").write_bytes(b"PK")
    torch.save(dict(epoch=1, best_prec=1.0, optimizer={}, state_dict=torch.nn.LSTM(1, 8, 2).state_dict()), tmp_path/"small.pth.tar")
    for name in ("broken", "small"): assert "cannot be read as an LSTM detector" in sentence(load_detector, tmp_path/f"{name}.pth.tar")
    assert "does not exist" in sentence(detect, run, "lstm", file=str(tmp_path/"no.pth.tar"))

def test_papermill(run, tmp_path):
    out = tmp_path/"new/digits_lstm_detector.pth.tar"
    done = papermill("train_detector", tmp_path/"out.ipynb", f"out: {out}", runs=run.folder, epochs=2)
    assert done.returncode == 0, done.stderr[-3000:]
    assert load_detector(out).about == train_detector(Run(run.folder), epochs=2).about
    done = papermill("train_detector", tmp_path/"out.ipynb", f"out: {out}", runs=run.folder)
    assert done.returncode and "exists already" in done.stderr
