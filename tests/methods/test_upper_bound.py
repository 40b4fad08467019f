"""The upper bound, and its clean network: another run, on the same samples under their true labels."""
import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from conftest import SMALL, tree
from noisykit.data.source import load_dataset
from noisykit.errors import Refused
from noisykit.record import Run
from noisykit.run import run_method
from refusals import refused

def train(folder, **settings):
    usual = SMALL | dict(method="upper_bound", lr=0.02)
    return run_method(quiet=True, run_dir=str(folder), **usual | settings)

def clean_runs(folder, dataset="digits"): return [path for path in folder.glob(f"clean-{dataset}-*") if path.is_dir()]

CLEAN = dict(method="ce", noise="none", noise_rate=None)

# ---- it is trained once

@pytest.fixture(scope="module")
def bound(tmp_path_factory): return train(tmp_path_factory.mktemp("bound")/"run")

@pytest.fixture(scope="module")
def clean(bound):
    folder, = clean_runs(bound.folder.parent)
    return Run(folder)

def test_its_clean_network(bound, clean):
    "The run's configuration says None, which is what was asked for: so the same command resumes it"
    assert bound.config["options"]["pseudo_run"] is None
    assert clean.config["noise"] == "none"
    assert clean.config["method"] == "ce"
    assert (clean.labels["index"] == bound.labels["index"]).all()
    assert not clean.labels.flipped.any()

def test_its_targets(bound):
    "What the clean network says of flipped samples, given labels otherwise"
    flipped = bound.labels.flipped.to_numpy()
    assert (bound.samples("target", -1)[~flipped] == bound.labels.given[~flipped]).all()
    assert bound.metrics.target_true_flipped.iloc[-1] > 0.7

def test_a_clean_network_that_is_named(bound, clean, tmp_path):
    before = tree(clean.folder)
    named = train(tmp_path/"named", options=dict(pseudo_run=str(clean.folder)))
    assert np.array_equal(named.samples("loss"), bound.samples("loss"))
    assert tree(clean.folder) == before

def test_soft_targets(bound, tmp_path):
    soft = train(tmp_path/"soft", options=dict(pseudo_soft=True))
    probability, flipped = soft.samples("target_prob", -1), soft.labels.flipped.to_numpy()
    assert np.array_equal(flipped, bound.labels.flipped)
    assert probability[flipped].min() < 0.9
    assert (probability[~flipped] == 1).all()

def test_at_any_level(tmp_path):
    "Its clean network does not look ahead, whatever the run itself is told"
    run = train(tmp_path/"run", data_options=dict(train_size=600), meta_level="last", epochs=1)
    assert run.config["meta_level"] == "last"
    assert run.has("weight")

def test_another_optimizer_has_a_clean_network_of_its_own(tmp_path):
    run = train(tmp_path/"run", optimizer="adam", lr=1e-3, epochs=1)
    folder, = clean_runs(tmp_path)
    assert Run(folder).config["optimizer"] == "adam"
    assert run.metrics.target_true_flipped.notna().all()

def test_another_folder_has_a_clean_network_of_its_own(tmp_path):
    for classes in (2, 3):
        own = tmp_path/f"images{classes}"
        for i in range(classes*12):
            label = i % classes
            (own/str(label)).mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((16, 16, 3), 60*label + i % 7, np.uint8)).save(own/str(label)/f"{i}.png")
        train(tmp_path/f"of{classes}", dataset="imagefolder", data_dir=str(own), model="cnn", probe_size=classes,
              data_options=dict(image_size=16, workers=0), batch_size=8, epochs=1)
    assert len(clean_runs(tmp_path, "imagefolder")) == 2

# ---- clean networks that are refused

@pytest.fixture
def other(clean, tmp_path):
    "A clean network that a test may spoil"
    other = tmp_path/"other"
    other.mkdir()
    for path in clean.folder.rglob("*"):
        copy = other/path.relative_to(clean.folder)
        if path.is_dir(): copy.mkdir(parents=True, exist_ok=True)
        else: copy.write_bytes(path.read_bytes())
    return other

@pytest.fixture
def refuses(tmp_path):
    "Whether a run is refused with a sentence, before anything is written"
    def it(said, **settings):
        with refused(said, kinds=Refused): train(tmp_path/"run", **settings)
        assert not (tmp_path/"run").exists()
    return it

def named(folder): return dict(options=dict(pseudo_run=str(folder)))

def test_a_clean_network_of_other_classes(other, refuses):
    about = json.loads((other/"data.json").read_text())
    about["classes"][9] = "nine"
    (other/"data.json").write_text(json.dumps(about))
    refuses("does not fit, classes", **named(other))

def test_a_clean_network_of_other_data(tmp_path, refuses):
    settings = CLEAN | dict(dataset="mnist5k", data_options=dict(train_size=100), epochs=1)
    run = train(tmp_path/"mnist", **settings)
    refuses("does not fit, data set: mnist5k there, digits here", **named(run.folder))

def test_a_folder_without_a_run(tmp_path, refuses): refuses("holds no run", **named(tmp_path/"nowhere"))

def test_a_network_that_saw_wrong_labels(tmp_path, refuses):
    refuses("was trained on wrong labels", **named(train(tmp_path/"noisy", method="ce").folder))

def test_a_clean_network_that_is_not_finished(other, refuses):
    lines = (other/"metrics.csv").read_text().splitlines(keepends=True)
    (other/"metrics.csv").write_text("".join(lines[:2]))
    refuses("not finished: 1 of 2 epochs", **named(other))

def test_a_clean_network_without_its_checkpoint(other, refuses):
    (other/"checkpoint.pt").unlink()
    refuses("checkpoint.pt", **named(other))

def test_labels_that_no_clean_network_can_have(tmp_path, refuses):
    refuses("name a run for method 'upper_bound'", noise="openset", noise_options=dict(dataset="mnist5k"))
    refuses("threshold gives samples a class", threshold=1)
    labels = load_dataset("digits").labels
    rows = np.arange(len(labels))
    pd.DataFrame(dict(index=rows, label_noisy=labels, removed=rows < 5)).to_csv(tmp_path/"some.csv", index=False)
    refuses("some.csv removes samples", noise=None, noise_rate=None, noise_file=str(tmp_path/"some.csv"))
