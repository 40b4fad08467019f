"""Noise that needs more than labels, in runs: another network's probabilities, another data set's images, files."""
import shutil

import numpy as np
import pandas as pd
import pytest
import torch

from conftest import SMALL
from noisykit.data.noise import make_noise, save_noise
from noisykit.data.source import load_dataset
from noisykit.errors import Refused
from noisykit.numerics import count_of
from noisykit.pictures import run_pictures
from noisykit.record import Run
from noisykit.run import run_method
from refusals import refused

def train(folder, **settings):
    usual = SMALL | dict(method="ce", probe_size=0, epochs=1, lr=0.02)
    return run_method(quiet=True, run_dir=str(folder), **usual | settings)

def clean_runs(folder): return [Run(path) for path in folder.glob("clean-digits-s0-*") if path.is_dir()]

# ---- noise that follows a network's probabilities

DEPENDENT = dict(noise="dependent", noise_rate=0.3, noise_options=dict(settings=dict(epochs=5)))

@pytest.fixture(scope="module")
def dependent(tmp_path_factory): return train(tmp_path_factory.mktemp("dependent")/"run", **DEPENDENT)

@pytest.fixture(scope="module")
def clean(dependent):
    run, = clean_runs(dependent.folder.parent)
    return run

def test_dependent_noise_trains_its_network_first(dependent, clean):
    "The samples are flipped of which that network is least sure, to the class that it takes for the next best"
    assert clean.config["noise"] == "none"
    assert len(clean.metrics) == clean.config["epochs"] == 5
    assert dependent.labels.flipped.sum() == count_of(0.3, len(dependent.labels))
    wrong = np.mean([clean.samples("probs", epoch).astype(float) for epoch in clean.metrics.epoch], axis=0)
    wrong[np.arange(len(wrong)), dependent.labels.true] = -1
    flipped = dependent.labels.flipped.to_numpy()
    assert wrong.max(1)[flipped].min() >= wrong.max(1)[~flipped].max()
    assert (wrong.argmax(1) == dependent.labels.given)[flipped].all()

def test_a_network_that_is_named(dependent, clean, tmp_path):
    before = clean.metrics
    named = train(tmp_path/"run", **DEPENDENT | dict(noise_options=dict(run=str(clean.folder))))
    assert (named.labels == dependent.labels).all(axis=None)
    assert Run(clean.folder).metrics.equals(before)
    assert not list(tmp_path.glob("clean*"))

def test_another_network_beside_the_first(dependent, clean):
    train(dependent.folder.parent/"lenet", **DEPENDENT | dict(model="lenet", data_options=dict(test_size=100)))
    assert len(clean_runs(dependent.folder.parent)) == 2

def test_networks_that_are_refused(dependent, clean, tmp_path):
    shutil.copytree(clean.folder, tmp_path/"half")
    (tmp_path/"half/samples/0005.npz").unlink()
    for folder, said in ((tmp_path/"half", "is not finished: 4 of 5 epochs"),
                         (dependent.folder, "kept no class probabilities")):
        with refused(said, kinds=Refused):
            train(tmp_path/"run", **DEPENDENT | dict(noise_options=dict(run=str(folder))))

def test_nothing_is_trained_before_all_is_checked(tmp_path, dependent):
    "A network for dependent noise may take hours: mistakes are answered before"
    mistakes = [
        (dict(run_dir=str(dependent.folder)), "holds another configuration"),
        (dict(probe_size=1430), "probe_size 1430 needs"),
        (dict(nproc=40, batch_size=32), "nproc 40 leaves"),
    ]
    there = sorted(dependent.folder.parent.iterdir())
    settings = SMALL | dict(method="ce", probe_size=0, epochs=3, lr=0.02, noise="dependent", noise_rate=0.3)
    for wrong, said in mistakes:
        with refused(said, kinds=Refused):
            run_method(quiet=True, **settings | dict(run_dir=str(tmp_path/"run")) | wrong)
    assert not list(tmp_path.iterdir())
    assert sorted(dependent.folder.parent.iterdir()) == there

# ---- images of another data set

def test_open_set_noise(tmp_path):
    "The label stays, the picture is another one"
    run = train(tmp_path/"run", dataset="mnist5k", noise="openset", noise_rate=0.4,
                noise_options=dict(dataset="digits"), data_options=dict(train_size=500))
    labels, source = run.labels, load_dataset("mnist5k", train_size=500)
    assert labels.flipped.sum() == 200
    assert (labels.true[labels.flipped] == -1).all()
    assert (labels.true[~labels.flipped] == labels.given[~labels.flipped]).all()
    pictures, _ = run_pictures(run)
    changed = (pictures(np.arange(500)) != source.train.pixels).flatten(1).any(1).numpy()
    assert np.array_equal(changed, labels.flipped)
    assert np.array_equal(labels.given, source.labels)
    assert 0 <= run.metrics.train_accuracy_true.iloc[-1] <= 1

def test_open_set_files(tmp_path):
    "re-sln's: a csv with a boolean mask, and all images in the .npy beside it"
    source, file = load_dataset("digits"), tmp_path/"openset0.4_custom.csv"
    noise = make_noise(source.labels, 10, "openset", 0.4)
    save_noise(noise, file)
    assert pd.read_csv(file).label_noisy.dtype == bool
    images = source.train.pixels.permute(0, 2, 3, 1).numpy().copy()
    images[noise.flipped] = 255 - images[noise.flipped]
    settings = dict(noise=None, noise_rate=None, noise_file=str(file))
    with refused("openset0.4_custom.npy", kinds=Refused): train(tmp_path/"no", **settings)
    np.save(file.with_suffix(".npy"), images)
    run = train(tmp_path/"run", **settings)
    pictures, _ = run_pictures(run)
    assert np.array_equal(run.labels.flipped, noise.flipped)
    assert np.array_equal(pictures(np.arange(len(images)))[:, 0], images[..., 0])

# ---- labels of people

def test_human_labels(tmp_path):
    "CIFAR-10N's file: a dictionary of label arrays"
    true = load_dataset("digits").labels
    def labels(rate): return make_noise(true, 10, "symmetric", rate).given
    torch.save(dict(clean_label=true, worse_label=labels(0.4), aggre_label=labels(0.1)), tmp_path/"human.pt")
    settings = dict(noise=None, noise_rate=None, noise_file=str(tmp_path/"human.pt"))
    def realised_rate(column):
        return train(tmp_path/column, **settings, noise_options=dict(column=column)).labels.flipped.mean()
    rates = [realised_rate(column) for column in ("worse_label", "aggre_label")]
    assert rates == pytest.approx([0.4, 0.1], abs=0.05)
    with refused("worse_label, aggre_label", kinds=Refused): train(tmp_path/"no", **settings)
