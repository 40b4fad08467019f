"""Noise laws and noise files: what the notebooks do not show."""
import io
import re
import zipfile
import zlib

import numpy as np
import pandas as pd
import pytest
import torch

from noisykit.data.source import load_dataset
from noisykit.data.noise import LAWS, law, law_options, load_noise, load_rules, make_noise, sample_law

Y = np.arange(5000) % 10
PINNED = dict(symmetric=3172901650, uniform=3902833286, asymmetric=239522758, matrix=3952195447, flip=3437007722, flip2=4043778127, hierarchical=541886288)
OPTIONS = dict(matrix=dict(matrix=np.roll(np.eye(10), 1, 1)), hierarchical=dict(superclass=[0, 0, 0, 1, 1, 1, 1, 2, 2, 3]), dependent=dict(scores=np.random.default_rng(0).random((5000, 10))))

@pytest.mark.parametrize("name", LAWS)
def test_global_generators_do_not_matter(name):
    def draw(): return make_noise(Y, 10, name, 0.3, seed=1, **OPTIONS.get(name, {}))
    np.random.seed(1); torch.manual_seed(1)
    before = np.random.get_state()[1].copy(), torch.get_rng_state()
    a = draw()
    assert (np.random.get_state()[1] == before[0]).all() and torch.equal(torch.get_rng_state(), before[1])
    np.random.seed(2); torch.manual_seed(2)
    b = draw()
    assert (a.given == b.given).all() and (a.true == b.true).all() and a.given.dtype == a.true.dtype == np.int64
    assert not a.true.flags.writeable and (a.given >= 0).all() and np.isfinite(a.matrix).all() and np.isfinite(a.expected_rate)

@pytest.mark.parametrize("name, crc", PINNED.items())
def test_a_seed_gives_the_labels_that_it_always_gave(name, crc):
    n = make_noise(Y, 10, name, 0.3, seed=1, **OPTIONS.get(name, {}))
    assert zlib.crc32(np.stack([n.given, n.true]).astype("<i8").tobytes()) == crc

def test_own_laws(monkeypatch):
    monkeypatch.setattr("noisykit.data.noise.LAWS", dict(LAWS))
    @law
    def to_zero(num_classes, rate, sure=False): return (1 - rate)*np.eye(num_classes) + rate*np.eye(num_classes)[[0]*num_classes]
    @sample_law
    def swap(true, num_classes, rate, seed, step=1): return (true + step) % num_classes, true, np.roll(np.eye(num_classes), step, 1)
    assert list(law_options("to_zero")) == ["sure"] and list(law_options("swap")) == ["step"] and to_zero(2, 1).tolist() == [[1, 0], [1, 0]]
    assert (make_noise(Y, 10, "to_zero", 1.0, sure=True).given == 0).all() and (make_noise(Y, 10, "swap", step=3).given == (Y + 3) % 10).all()

# ---- files

NOISY = make_noise(Y, 10, "symmetric", 0.4).given

@pytest.mark.parametrize("module", [None, "numpy.core", "numpy._core"])
def test_annotations_as_torch_saved_them(tmp_path, module):
    "CIFAR-100N's layout: as torch saves it, and as a plain pickle of the time before, by an older or a newer numpy"
    held = dict(clean_label=Y, noisy_label=NOISY, as_list=NOISY.tolist(), as_numbers=list(NOISY), as_tensor=torch.tensor(NOISY), openset=Y == 3)
    torch.save(held, tmp_path/"n.pt", _use_new_zipfile_serialization=not module)
    if module:
        raw = (tmp_path/"n.pt").read_bytes()
        (tmp_path/"n.pt").write_bytes(re.sub(rb"numpy\._?core\.multiarray", f"{module}.multiarray".encode(), raw))
    assert all((load_noise(tmp_path/"n.pt", Y, 10, column=k).given == NOISY).all() for k in (None, *list(held)[1:-1]))
    assert (load_noise(tmp_path/"n.pt", Y, 10, column="openset").true == np.where(Y == 3, -1, Y)).all()

class Touch:
    def __init__(self, path): self.path = path
    def __reduce__(self): return open, (self.path, "w")

def test_a_pickle_that_runs_something_is_refused(tmp_path):
    torch.save(dict(clean_label=Y, noisy_label=NOISY, more=Touch(str(tmp_path/"ran"))), tmp_path/"n.pt")
    torch.save([Y], tmp_path/"list.pt")
    (tmp_path/"cut.pt").write_bytes((tmp_path/"list.pt").read_bytes()[:300])
    for name in ("n", "list", "cut"):
        with pytest.raises(ValueError, match=rf"{name}\.pt cannot be read as pt \(") as e: load_noise(tmp_path/f"{name}.pt", Y, 10)
        assert "\n" not in str(e.value)
    assert not (tmp_path/"ran").exists()

def test_columns(tmp_path):
    pd.DataFrame(dict(clean_label=Y, worst=NOISY, label_noisy=Y)).to_csv(tmp_path/"n.csv", index=False)
    assert not load_noise(tmp_path/"n.csv", Y, 10).flipped.any() and (load_noise(tmp_path/"n.csv", Y, 10, "worst").given == NOISY).all()
    with pytest.raises(ValueError, match="has no column best; column names one of clean_label, worst, label_noisy"): load_noise(tmp_path/"n.csv", Y, 10, "best")
    np.save(tmp_path/"n.npy", np.eye(10))
    with pytest.raises(ValueError, match="has 100 labels, the data set has 10"): load_noise(tmp_path/"n.npy", Y[:10], 10)

@pytest.mark.parametrize("row", ["4,[5],0.4", "cat,[dog],0.4", "cat,['cow'],0.4", "cat,[],0.4", "cat,['cat'],0.4", "cat,\"['dog', 'dog']\",0.4", "cat,['dog'],1.4", "cat,['dog'],x",
                                 "cat,1,0.4", ",['dog'],0.4", "cat,,0.4", "dog,['cat'],0.4\ndog,['cat'],0.1"])
def test_rules_that_are_none(tmp_path, row):
    (tmp_path/"r.csv").write_text(",src,dsts,p\n0,hen,['dog'],0.2\n" + "".join(f"{k},{r}\n" for k, r in enumerate(row.split("\n"), 1)))
    with pytest.raises(ValueError, match="is no rule: src is a class") as e: load_rules(tmp_path/"r.csv", 3, ["cat", "dog", "hen"])
    assert "\n" not in str(e.value)

def test_animals_in_a_zip(tmp_path):
    "raw_image.zip alone, with a folder and a Mac's leftovers inside; a zip that is none"
    from PIL import Image
    picture = io.BytesIO(); Image.new("RGB", (64, 64), "red").save(picture, "jpeg")
    with zipfile.ZipFile(tmp_path/"raw_image.zip", "w") as z:
        for name in ("raw/training/3_b.jpg", "raw/training/1_a.JPG", "raw/testing/9_c.jpg"): z.writestr(name, picture.getvalue())
        for name in ("__MACOSX/raw/training/._3_b.jpg", "raw/training/Thumbs.db", "raw/0_readme.jpg"): z.writestr(name, b"junk")
    s = load_dataset("animal10n", tmp_path, image_size=16)
    assert s.labels.tolist() == [1, 3] and s.test_labels.tolist() == [9] and s.train.shape == (3, 16, 16) and s.train.pixels[0, 0].min() > 250
    with zipfile.ZipFile(tmp_path/"raw_image.zip", "a") as z: z.writestr("raw/training/5_x.jpg", b"junk")
    with pytest.raises(OSError, match="raw/training/5_x.jpg cannot be read"): load_dataset("animal10n", tmp_path)
    (tmp_path/"raw_image_ver.zip").write_bytes(b"junk")
    with pytest.raises(ValueError, match="raw_image_ver.zip cannot be read as zip"): load_dataset("animal10n", tmp_path)
