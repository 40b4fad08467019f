"""Runs that need another run first: a law or a method declares it, `run_method` makes it, and only it."""
from dataclasses import dataclass

import numpy as np
import pytest

from conftest import SMALL, tree
from noisykit.data.noise import LAWS, law_options, sample_law
from noisykit.errors import Refused
from noisykit.numerics import count_of
from noisykit.record import Run
from noisykit.run import run_method
from noisykit.train.method import METHODS, Method, method

def train(folder, **kw): return run_method(run_dir=str(folder), quiet=True, **SMALL | dict(epochs=1) | kw)

def made(folder): return [Run(p) for part in ("clean-*", "before-*") for p in folder.glob(part) if p.is_dir()]

@pytest.fixture
def own_law():
    "Asks a network that has seen one epoch of true labels"
    settings = dict(method="ce", model="lenet", noise="none", probe_size=0, val_share=0., keep_probs=True, epochs=1)
    @sample_law(clean_run=settings, options=dict(run=str, settings=dict))
    def unsure(true, num_classes, rate, seed, scores=None):
        given = true.copy()
        least = np.argsort(scores.max(1), kind="stable")[:count_of(rate, len(true))]
        given[least] = (true[least] + 1) % num_classes
        return given, true, np.eye(num_classes)
    yield
    del LAWS["unsure"]

def test_a_law_of_ones_own(tmp_path, own_law):
    run = train(tmp_path/"run", method="ce", noise="unsure", noise_rate=.2, probe_size=0)
    first, = made(tmp_path)
    assert first.config["model"] == "lenet" and first.finished and run.config["noise_options"] is None
    assert run.all_labels.flipped.sum() == count_of(.2, len(first.labels))
    options = dict(run=str(first.folder))
    named = train(tmp_path/"other/run", method="ce", noise="unsure", noise_rate=.2, probe_size=0,
                  noise_options=options)
    assert (named.all_labels == run.all_labels).all(axis=None) and not made(tmp_path/"other")

@pytest.fixture
def own_method():
    "Reads the record of an earlier run of plain training"
    @method("second_look")
    class SecondLook(Method):
        @dataclass
        class Options:
            first_run:str|None = None
        @classmethod
        def needs_runs(cls, options, config):
            same = {k: getattr(config, k) for k in ("dataset", "noise", "noise_rate", "probe_size", "seed")}
            return {} if options.first_run else {"first_run": same | dict(method="ce", epochs=1)}
        def __init__(self, trainer, options):
            super().__init__(trainer, options)
            self.seen = Run(options.first_run)
            assert (self.seen.labels["index"] == trainer.data.index).all()
        def step(self, batch): return METHODS["ce"].step(self, batch)
    yield
    del METHODS["second_look"]

def test_a_method_of_ones_own(tmp_path, own_method):
    run = train(tmp_path/"run", method="second_look")
    first, = made(tmp_path)
    assert first.finished and run.config["options"] == {"first_run": None}
    before = tree(first.folder)
    train(tmp_path/"again", method="second_look")   # another run of the same settings finds it
    assert tree(first.folder) == before and len(made(tmp_path)) == 1
    train(tmp_path/"run", method="second_look")     # and the same command goes on with the first

def test_it_was_trained_on_other_images(tmp_path, own_method):
    train(tmp_path/"run", method="second_look")
    first, = made(tmp_path)
    labels = (first.folder/"labels.csv").read_text().splitlines()
    at = next(i for i, line in enumerate(labels) if ",probe," in line)
    labels[at] = labels[at].replace(",probe,", ",train,")
    (first.folder/"labels.csv").write_text("\n".join(labels) + "\n")
    with pytest.raises(Refused, match="was trained on other images than these: remove it, and it is trained again"):
        train(tmp_path/"again", method="second_look")
    assert not (tmp_path/"again").exists()

def test_options_of_a_law_that_asks_a_run():
    assert law_options("dependent") == dict(run=str, settings=dict) and "superclass" in law_options("hierarchical")

OWN_STUDY = """
datasets: [mnist5k, digits]
settings:
- lr: 0.07
  epochs: 1
  noise_options: {settings: {batch_size: 50}}
  source: tried
"""

def test_a_study_of_ones_own_goes_along(tmp_path):
    (tmp_path/"mine.yaml").write_text(OWN_STUDY)
    own = dict(study=str(tmp_path/"mine.yaml"), dataset="digits", device="cpu", quiet=True)
    run_method(method="ce", noise="dependent", noise_rate=.2, run_dir=tmp_path/"law/run", **own)
    run_method(method="upper_bound", noise="symmetric", noise_options={}, probe_size=20,
               run_dir=tmp_path/"method/run", **own)
    for folder in (tmp_path/"law", tmp_path/"method"):
        first, = made(folder)
        assert first.finished and first.config["study"] == own["study"] and first.config["lr"] == .07, folder
