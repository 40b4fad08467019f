"""Whole runs: what papermill leaves behind, variants that learn, own images. What is refused: test_refusals.py."""
import json

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import shared
from conftest import ROOT, SMALL, papermill, tree
from noisykit.data.noise import make_noise, save_noise
from noisykit.data.source import load_dataset
from noisykit.errors import Refused
from noisykit.record import Run
from noisykit.run import run_method

@pytest.fixture(autouse=True)
def one_thread():
    "papermill's processes have one thread; so must runs that are compared with theirs"
    with shared.one_thread(): yield

def train(folder, **kw): return run_method(run_dir=str(folder), quiet=True, **SMALL | kw)

def without_noise_settings(): return {k: v for k, v in SMALL.items() if "noise" not in k}

# ---- by papermill

FIGURES = {"learning_curves", "weights", "pred_probs", "sample_dissect", "transitions", "confusion", "best_fits",
           "worst_fits"}

def test_papermill_trains_what_was_asked_for(l2r_run):
    run = Run(l2r_run[1])
    config, metrics = run.config, run.metrics
    assert (config["method"], config["noise_rate"], config["epochs"]) == ("l2r", 0.6, 2)   # not the notebook's defaults
    assert run.presets["lr"] == "default" and "method" not in run.presets
    columns = {"epoch", "train_loss", "train_loss_clean", "train_loss_flipped", "test_accuracy", "weight_clean"}
    assert columns <= set(metrics)
    assert metrics.epoch.tolist() == [1, 2] and metrics.test_accuracy.iloc[-1] > 0.5
    assert run.samples("weight").shape == (2, len(run.labels))
    assert run.labels.flipped.mean() == pytest.approx(0.6, abs=0.05)
    assert {p.stem for p in (run.folder/"figures").glob("*.png")} == FIGURES
    assert list((run.folder/"tensorboard").glob("events*")) and run.env["torch"] == torch.__version__

def test_the_notebook_shows_its_pictures_and_no_warning(l2r_run):
    outputs = [o for c in json.loads(l2r_run[0].read_text())["cells"] for o in c.get("outputs", [])]
    assert not [o for o in outputs if o["output_type"] == "error"]
    assert sum("image/png" in o.get("data", {}) for o in outputs) >= 6
    assert not [o for o in outputs if "Warning" in "".join(o.get("text", ""))]

def test_the_record_is_plain_files(l2r_run):
    _, folder = l2r_run
    labels, metrics = pd.read_csv(folder/"labels.csv"), pd.read_csv(folder/"metrics.csv")
    with np.load(folder/"samples/0002.npz") as arrays: values = dict(arrays)
    train = labels[labels.split == "train"]
    assert set(values) == {"given_prob", "prediction", "max_prob", "loss", "margin", "weight"}
    assert all(len(v) == len(train) for v in values.values())
    assert (values["prediction"] == train.given).mean() == pytest.approx(metrics.train_accuracy.iloc[-1])
    assert values["loss"][train.flipped].mean() == pytest.approx(metrics.train_loss_flipped.iloc[-1], rel=1e-5)

def test_without_an_output_path(tmp_path):
    "papermill then prints the notebook; the run folder must be there all the same, and the source untouched"
    source = (ROOT/"nbs/run_method.ipynb").read_bytes()
    done = papermill("run_method", method="ce", run_dir=tmp_path/"run", **SMALL | dict(epochs=1))
    assert done.returncode == 0 and json.loads(done.stdout)["cells"]
    assert len(Run(tmp_path/"run").metrics) == 1 and (tmp_path/"run/figures/learning_curves.png").is_file()
    assert (ROOT/"nbs/run_method.ipynb").read_bytes() == source

def test_a_finished_run_is_read_not_repeated(copy_of_l2r, tmp_path):
    before = (copy_of_l2r/"metrics.csv").read_bytes()
    done = papermill("run_method", tmp_path/"out.ipynb", method="l2r", run_dir=copy_of_l2r, **SMALL)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (copy_of_l2r/"metrics.csv").read_bytes() == before

# ---- what is trained

def test_engines_agree_over_a_whole_run(tmp_path):
    jvp, higher = (train(tmp_path/e, method="l2r", engine=e, precision="float64") for e in ("jvp", "higher"))
    for name in ("loss", "weight"): assert np.allclose(jvp.samples(name), higher.samples(name), rtol=1e-4, atol=1e-5)

VARIANTS = [dict(precision="bfloat16"), dict(optimizer="adamw", lr=3e-3), dict(optimizer="adam", lr=3e-3),
            dict(options={"weighting": "sigmoid", "scale": "std"}), dict(grad_clip=0.25),
            dict(model="lenet", epochs=20), dict(schedule={"milestones": [1], "gamma": 0.1}), dict(noise="uniform"),
            dict(nesterov=True), dict(val_share=0.2)]

@pytest.mark.parametrize("kw", VARIANTS, ids=str)
def test_variants_learn(tmp_path, kw):
    metrics = train(tmp_path/"run", method="l2r", **dict(epochs=3) | kw).metrics
    assert metrics.objective.iloc[-1] < metrics.objective.iloc[0]
    accuracy = metrics.test_accuracy.iloc[-1]
    assert accuracy > (0.2 if "lenet" in kw.values() else 0.4)
    if "schedule" in kw: assert metrics.lr_now.tolist() == pytest.approx([0.05, 0.005, 0.005])
    if "val_share" in kw: assert metrics.valid_accuracy.iloc[-1] < 0.6 < accuracy   # its labels are noisy

def test_global_generators_are_left_alone(tmp_path):
    torch.manual_seed(1)
    np.random.seed(1)
    def switches(): return torch.get_default_dtype(), torch.are_deterministic_algorithms_enabled()
    before, state, numpy_state = switches(), torch.get_rng_state(), np.random.get_state()[1].copy()
    train(tmp_path/"run", method="ce", precision="float64", epochs=1)
    assert torch.equal(state, torch.get_rng_state()) and (numpy_state == np.random.get_state()[1]).all()
    assert before == switches()

def test_noise_from_a_file_gives_the_same_run(tmp_path):
    save_noise(make_noise(load_dataset("digits").labels, 10, "symmetric", 0.6, seed=0), tmp_path/"noise.csv")
    drawn = train(tmp_path/"drawn", method="ce")
    kw = without_noise_settings() | dict(method="ce", noise_file=str(tmp_path/"noise.csv"))
    read = run_method(run_dir=str(tmp_path/"read"), quiet=True, **kw)
    assert np.array_equal(drawn.samples("loss"), read.samples("loss"))
    assert (drawn.labels == read.labels).all(axis=None)

def test_a_probe_by_list(tmp_path):
    (tmp_path/"probe.csv").write_text("index\n" + "\n".join(map(str, range(0, 100, 2))) + "\n")
    run = train(tmp_path/"run", method="l2r", probe_file=str(tmp_path/"probe.csv"), probe_size=None, epochs=1)
    probe = run.all_labels.query("split == 'probe'")["index"]
    assert probe.tolist() == list(range(0, 100, 2)) and run.config["probe_size"] is None
    assert (run.labels["index"] % 2 == 1)[:50].all()

# ---- own images

@pytest.fixture
def digit_folder(tmp_path):
    "90 digits as JPEGs, a folder a class"
    digits = load_dataset("digits")
    for label in range(3):
        (tmp_path/f"images/{label}").mkdir(parents=True)
        for k, i in enumerate(np.flatnonzero(digits.labels == label)[:30]):
            picture = Image.fromarray(digits.train.pixels[i, 0].numpy()).resize((24, 20))
            picture.save(tmp_path/f"images/{label}/{k:02}.jpg")
    return tmp_path/"images"

def test_own_images(tmp_path, digit_folder):
    "A folder of JPEGs through worker processes, by papermill; a broken one is named, skipped when asked, and counted"
    broken = digit_folder/"1"/"broken.jpg"
    broken.write_bytes(b"no picture")
    params = dict(method="ce", dataset="imagefolder", data_dir=str(digit_folder), model="cnn", epochs=2, batch_size=16,
                  run_dir=str(tmp_path/"run"), device="cpu")
    before = tree(digit_folder)
    refused = papermill("run_method", tmp_path/"a.ipynb", "data_options: {image_size: 16, workers: 2}", **params)
    assert refused.returncode and not (tmp_path/"run").exists()
    assert str(broken) in refused.stderr and "1 of 91 images are unreadable" in refused.stderr
    skipping = "data_options: {image_size: 16, workers: 2, skip_unreadable: true}"
    taken = papermill("run_method", tmp_path/"b.ipynb", skipping, **params)
    assert taken.returncode == 0, taken.stderr[-3000:]
    assert "1 unreadable images skipped" in (tmp_path/"b.ipynb").read_text()
    assert len(Run(tmp_path/"run").labels) == 72
    assert tree(digit_folder) == before
    moved = digit_folder.rename(tmp_path/"elsewhere")   # the same pictures in another place are the same data
    options = dict(image_size=16, workers=2, skip_unreadable=True)
    again = params | dict(data_dir=str(moved), data_options=options)
    assert len(run_method(quiet=True, **again).metrics) == 2
    (moved/"0"/"00.jpg").rename(moved/"0"/"other.jpg")
    with pytest.raises(Refused, match="was made from other data"): run_method(quiet=True, **again)
