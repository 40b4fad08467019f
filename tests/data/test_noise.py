"""Noise laws and noise files: what neither the notebooks nor the contract of all laws show."""
import re
import zlib

import numpy as np
import pandas as pd
import pytest
import torch

from noisykit.data.noise import LAWS, law, law_options, load_noise, load_rules, make_noise, sample_law
from refusals import refused

TRUE = np.arange(5000) % 10
# what a law needs beside its rate
OPTIONS = dict(matrix=dict(matrix=np.roll(np.eye(10), 1, 1)),
               hierarchical=dict(superclass=[0, 0, 0, 1, 1, 1, 1, 2, 2, 3]),
               dependent=dict(scores=np.random.default_rng(0).random((5000, 10))))

def noise(name): return make_noise(TRUE, 10, name, 0.3, seed=1, **OPTIONS.get(name, {}))

@pytest.mark.parametrize("name", LAWS)
def test_torch_s_generator_is_left_alone(name):
    "NumPy's too, as the contract of all laws says; the arrays may not be written to"
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = noise(name)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    second = noise(name)
    assert (first.given == second.given).all() and (first.true == second.true).all()
    assert first.given.dtype == first.true.dtype == np.int64
    assert not first.true.flags.writeable
    assert np.isfinite(first.matrix).all() and np.isfinite(first.expected_rate)

# checksums of given and true labels
PINNED = dict(symmetric=3172901650, uniform=3902833286, asymmetric=239522758, matrix=3952195447, flip=3437007722,
              flip2=4043778127, hierarchical=541886288)

@pytest.mark.parametrize("name, checksum", PINNED.items())
def test_a_seed_gives_the_labels_that_it_always_gave(name, checksum):
    made = noise(name)
    assert zlib.crc32(np.stack([made.given, made.true]).astype("<i8").tobytes()) == checksum

def test_own_laws(monkeypatch):
    monkeypatch.setattr("noisykit.data.noise.LAWS", dict(LAWS))
    @law
    def to_zero(num_classes, rate, sure=False):
        return (1 - rate)*np.eye(num_classes) + rate*np.eye(num_classes)[[0]*num_classes]
    @sample_law
    def swap(true, num_classes, rate, seed, step=1):
        return (true + step) % num_classes, true, np.roll(np.eye(num_classes), step, 1)
    assert list(law_options("to_zero")) == ["sure"]
    assert list(law_options("swap")) == ["step"]
    assert to_zero(2, 1).tolist() == [[1, 0], [1, 0]]
    assert (make_noise(TRUE, 10, "to_zero", 1.0, sure=True).given == 0).all()
    assert (make_noise(TRUE, 10, "swap", step=3).given == (TRUE + 3) % 10).all()

# ---- files

NOISY = make_noise(TRUE, 10, "symmetric", 0.4).given

@pytest.mark.parametrize("module", [None, "numpy.core", "numpy._core"])
def test_annotations_as_torch_saved_them(tmp_path, module):
    "CIFAR-100N's layout: as torch saves it, and as a plain pickle of the time before, by an older or a newer numpy"
    path = tmp_path/"labels.pt"
    columns = dict(noisy_label=NOISY, as_list=NOISY.tolist(), as_numbers=list(NOISY), as_tensor=torch.tensor(NOISY))
    held = dict(clean_label=TRUE) | columns | dict(openset=TRUE == 3)
    torch.save(held, path, _use_new_zipfile_serialization=not module)
    if module:
        written = re.sub(rb"numpy\._?core\.multiarray", f"{module}.multiarray".encode(), path.read_bytes())
        path.write_bytes(written)
    for column in (None, *columns): assert (load_noise(path, TRUE, 10, column=column).given == NOISY).all()
    assert (load_noise(path, TRUE, 10, column="openset").true == np.where(TRUE == 3, -1, TRUE)).all()

class Touch:
    "Whoever unpickles it makes a file"
    def __init__(self, path): self.path = path
    def __reduce__(self): return open, (self.path, "w")

def test_a_pickle_that_runs_something_is_refused(tmp_path):
    torch.save(dict(clean_label=TRUE, noisy_label=NOISY, more=Touch(str(tmp_path/"ran"))), tmp_path/"runs.pt")
    torch.save([TRUE], tmp_path/"list.pt")
    (tmp_path/"cut.pt").write_bytes((tmp_path/"list.pt").read_bytes()[:300])
    for name in ("runs", "list", "cut"):
        with refused(rf"{name}\.pt cannot be read as pt \("): load_noise(tmp_path/f"{name}.pt", TRUE, 10)
    assert not (tmp_path/"ran").exists()

def test_columns(tmp_path):
    table = pd.DataFrame(dict(clean_label=TRUE, worst=NOISY, label_noisy=TRUE))
    table.to_csv(tmp_path/"labels.csv", index=False)
    assert not load_noise(tmp_path/"labels.csv", TRUE, 10).flipped.any()
    assert (load_noise(tmp_path/"labels.csv", TRUE, 10, "worst").given == NOISY).all()
    with refused("has no column best; column names one of clean_label, worst, label_noisy"):
        load_noise(tmp_path/"labels.csv", TRUE, 10, "best")

def test_an_array_of_another_size(tmp_path):
    np.save(tmp_path/"labels.npy", np.eye(10))
    with refused(text="of shape (10, 10), and one label a sample is needed, such as the place of the largest value"):
        load_noise(tmp_path/"labels.npy", TRUE[:10], 10)

NO_RULES = [
    "4,[5],0.4",
    "cat,[dog],0.4",
    "cat,['cow'],0.4",
    "cat,[],0.4",
    "cat,['cat'],0.4",
    "cat,\"['dog', 'dog']\",0.4",
    "cat,['dog'],1.4",
    "cat,['dog'],x",
    "cat,1,0.4",
    ",['dog'],0.4",
    "cat,,0.4",
    "dog,['cat'],0.4\ndog,['cat'],0.1",
]

@pytest.mark.parametrize("rows", NO_RULES)
def test_rules_that_are_none(tmp_path, rows):
    table = [",src,dsts,p", "0,hen,['dog'],0.2", *(f"{k},{row}" for k, row in enumerate(rows.split("\n"), 1))]
    (tmp_path/"rules.csv").write_text("\n".join(table) + "\n")
    with refused("is no rule: src is a class"): load_rules(tmp_path/"rules.csv", 3, ["cat", "dog", "hen"])
