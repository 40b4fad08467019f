"""SLN with its add-ons, and the noise that needs more than labels: whole runs in this process."""
import shutil
from functools import wraps

import numpy as np
import pandas as pd
import pytest
import torch

from conftest import SMALL
from noisykit.config import Config
from noisykit.data.source import DATASETS, load_dataset
from noisykit.methods.sln import SLN
from noisykit.data.noise import NoisyLabels, make_noise, save_noise
from noisykit.record import Run
from noisykit.errors import Refused
from noisykit.pictures import run_pictures
from noisykit.resolve import resolve
from noisykit.run import run_method
from noisykit.train.method import Batch

OWN = dict(method="sln+mo+lc", options=dict(lc_after=1, ema_decay=0.9), probe_size=0, epochs=3, lr=0.02)
NAMES = ("loss", "margin", "prediction")

def train(folder, **kw): return run_method(quiet=True, run_dir=str(folder), **SMALL | OWN | kw)

@pytest.fixture(scope="module")
def whole(tmp_path_factory): return train(tmp_path_factory.mktemp("sln")/"run")

def state(run): return torch.load(run.folder/"checkpoint.pt", weights_only=True)

# ---- add-ons

def test_one_run_evaluates_both_networks(whole):
    assert {"test_accuracy", "test_accuracy_ema", "test_loss_ema"} <= set(whole.metrics)
    assert not np.array_equal(whole.samples("loss", "final"), whole.samples("loss", "final_ema"))
    ema = state(whole)["parts"][1]
    assert all(torch.isfinite(v).all() for v in ema.values()) and set(ema) == set(state(whole)["net"])

def test_the_order_of_add_ons_does_not_matter(whole, tmp_path):
    other = train(tmp_path/"run", method="sln+lc+mo")
    assert all(np.array_equal(whole.samples(n), other.samples(n)) for n in NAMES)

def test_correction(whole):
    "No correction in epoch 1; then targets between given label and the average's prediction"
    target = whole.samples("target", 2)
    assert not "target" in np.load(whole.folder/"samples/0001.npz") and whole.metrics.target_true.isna().tolist() == [True, False, False]
    prob, given = whole.samples("target_prob", 2), whole.labels.given.to_numpy()
    assert (prob >= 0.5 - 1e-6).all() and (prob <= 1 + 1e-6).all() and 0.1 < (target != given).mean() < 0.9

def test_corrected_labels_get_no_noise():
    class Trainer: config, steps = Config(seed=0), 0
    sln, y = SLN(Trainer, SLN.Options(1.0)), torch.tensor([0, 2])
    noisy = sln.noisy(Batch(None, None, y, 1, 2), 3)
    assert not torch.equal(noisy, torch.eye(3)[y]) and torch.equal(sln.noisy(Batch(None, None, noisy, 1, 2, corrected=True), 3), noisy)

@pytest.mark.parametrize("quirk, first", [("lc_soft", 2), ("lc_augment", 2), ("lc_chain", 3)])
def test_quirks_are_options(tmp_path, quirk, first, monkeypatch):
    "Each changes the targets from the epoch on in which it has a meaning"
    digits = DATASETS["digits"]
    @wraps(digits)
    def shifted(data_dir): s = digits(data_dir); s.train.pad = 1; return s   # so that there is an augmentation
    monkeypatch.setitem(DATASETS, "digits", shifted)
    whole, other = (train(tmp_path/n, options=OWN["options"] | o) for n, o in (("whole", {}), ("other", {quirk: True})))
    for e in (2, 3): assert np.array_equal(other.samples("target_prob", e), whole.samples("target_prob", e)) == (e < first)

def test_add_ons_go_with_any_method(tmp_path):
    for method in ("ce+lc", "l2r+mo+lc", "probe_only+mo"):
        run = train(tmp_path/method, method=method, probe_size=50, options={k: v for k, v in OWN["options"].items() if k.split("_")[0].replace("ema", "mo") in method})
        assert ("test_accuracy_ema" in run.metrics) == ("mo" in method) and run.has("target") == ("lc" in method)

def test_a_lost_final_file_is_made_again(whole):
    before = whole.samples("loss", "final_ema")
    (whole.folder/"samples/final_ema.npz").write_bytes(b"cut short")
    with pytest.raises(OSError, match="final_ema.npz cannot be read"): whole.samples("loss", "final_ema")
    assert np.array_equal(train(whole.folder).samples("loss", "final_ema"), before)

def test_imagefolder(tmp_path):
    "Images that are decoded by workers are predicted and averaged over, too"
    from PIL import Image
    s = load_dataset("digits")
    for c in range(2):
        (tmp_path/f"images/{c}").mkdir(parents=True)
        for k, i in enumerate(np.flatnonzero(s.labels == c)[:20]): Image.fromarray(s.train.pixels[i, 0].numpy()).save(tmp_path/f"images/{c}/{k:02}.png")
    run = run_method(quiet=True, method="ce+mo+lc", dataset="imagefolder", data_dir=str(tmp_path/"images"), data_options=dict(image_size=16, workers=0), model="cnn", batch_size=8,
                     epochs=2, run_dir=str(tmp_path/"run"), device="cpu", options=dict(lc_augment=True))
    assert run.has("target") and np.isfinite(run.samples("loss", "final_ema")).all()

# ---- noise

def test_dependent_noise_trains_its_network_first(tmp_path):
    kw = dict(method="ce", noise="dependent", noise_rate=0.3, options=None, epochs=1, noise_options=dict(settings=dict(epochs=5)))
    run = train(tmp_path/"run", **kw)
    clean = Run(next(p for p in tmp_path.glob("clean-digits-s0-*") if p.is_dir()))
    assert clean.config["noise"] == "none" and len(clean.metrics) == clean.config["epochs"] == 5
    assert run.labels.flipped.sum() == int(0.3*len(run.labels))
    probs = np.mean([clean.samples("probs", e).astype(float) for e in clean.metrics.epoch], axis=0)
    wrong = probs.copy(); wrong[np.arange(len(wrong)), run.labels.true] = -1
    flipped = run.labels.flipped.to_numpy()
    assert wrong.max(1)[flipped].min() >= wrong.max(1)[~flipped].max()
    assert (wrong.argmax(1) == run.labels.given)[flipped].all()
    before = clean.metrics
    named = train(tmp_path/"elsewhere/run", **kw | dict(noise_options=dict(run=str(clean.folder))))
    assert (named.labels == run.labels).all(axis=None) and Run(clean.folder).metrics.equals(before) and not list((tmp_path/"elsewhere").glob("clean*"))
    train(tmp_path/"lenet", **kw | dict(model="lenet", data_options=dict(test_size=100)))   # another network of its own, beside the first
    assert len([p for p in tmp_path.glob("clean-digits-s0-*") if p.is_dir()]) == 2
    half = tmp_path/"half"; shutil.copytree(clean.folder, half); (half/"samples/0005.npz").unlink()
    with pytest.raises(Refused, match="is not finished: 4 of 5 epochs"): train(tmp_path/"no", **kw | dict(noise_options=dict(run=str(half))))
    with pytest.raises(Refused, match="kept no class probabilities"): train(tmp_path/"no", **kw | dict(noise_options=dict(run=str(run.folder))))

def test_nothing_is_trained_before_all_is_checked(tmp_path, whole):
    "A network for dependent noise may take hours: mistakes are answered before"
    kw = dict(noise="dependent", noise_rate=0.3, options=None, method="ce")
    for wrong, sentence in ((dict(run_dir=str(whole.folder)), "holds another configuration"), (dict(probe_size=1430), "probe_size 1430 needs"), (dict(nproc=40, batch_size=32), "nproc 40 leaves")):
        with pytest.raises(Refused, match=sentence): run_method(quiet=True, **SMALL | OWN | kw | dict(run_dir=str(tmp_path/"run")) | wrong)
    assert not list(tmp_path.iterdir()) and not list(whole.folder.parent.glob("clean*"))

def test_open_set_noise(tmp_path):
    run = train(tmp_path/"run", method="ce", options=None, epochs=1, dataset="mnist5k", noise="openset", noise_rate=0.4, noise_options=dict(dataset="digits"), data_options=dict(train_size=500))
    L = run.labels
    assert L.flipped.sum() == 200 and (L.true[L.flipped] == -1).all() and (L.true[~L.flipped] == L.given[~L.flipped]).all()
    source = load_dataset("mnist5k", train_size=500)
    pictures, _ = run_pictures(run)
    changed = (pictures(np.arange(500)) != source.train.pixels).flatten(1).any(1).numpy()
    assert np.array_equal(changed, L.flipped) and np.array_equal(L.given, source.labels)
    assert 0 <= run.metrics.train_accuracy_true.iloc[-1] <= 1

def test_open_set_files(tmp_path):
    "re-sln's: a csv with a boolean mask, and all images in the .npy beside it"
    source = load_dataset("digits")
    noise = make_noise(source.labels, 10, "openset", 0.4)
    save_noise(noise, tmp_path/"openset0.4_custom.csv")
    assert pd.read_csv(tmp_path/"openset0.4_custom.csv").label_noisy.dtype == bool
    images = source.train.pixels.permute(0, 2, 3, 1).numpy().copy(); images[noise.flipped] = 255 - images[noise.flipped]
    kw = dict(method="ce", options=None, epochs=1, noise=None, noise_rate=None, noise_file=str(tmp_path/"openset0.4_custom.csv"))
    with pytest.raises(Refused, match="openset0.4_custom.npy"): train(tmp_path/"no", **kw)
    np.save(tmp_path/"openset0.4_custom.npy", images)
    run = train(tmp_path/"run", **kw)
    pictures, _ = run_pictures(run)
    assert np.array_equal(run.labels.flipped, noise.flipped) and np.array_equal(pictures(np.arange(len(images)))[:, 0], images[..., 0])

def test_human_labels(tmp_path):
    "CIFAR-10N's file: a dictionary of label arrays"
    y = load_dataset("digits").labels
    torch.save(dict(clean_label=y, worse_label=make_noise(y, 10, "symmetric", 0.4).given, aggre_label=make_noise(y, 10, "symmetric", 0.1).given), tmp_path/"human.pt")
    kw = dict(method="ce", options=None, epochs=1, noise=None, noise_rate=None, noise_file=str(tmp_path/"human.pt"))
    rates = [train(tmp_path/c, **kw, noise_options=dict(column=c)).labels.flipped.mean() for c in ("worse_label", "aggre_label")]
    assert rates == pytest.approx([0.4, 0.1], abs=0.05)
    with pytest.raises(Refused, match="worse_label, aggre_label"): train(tmp_path/"no", **kw)

# ---- settings

def test_a_config_can_be_given_again(whole):
    assert resolve(**whole.config)[0].options == whole.config["options"] == dict(sigma=0.5, ema_decay=0.9, ema_ramp=False, lc_after=1, lc_soft=False, lc_augment=False, lc_chain=False)

def test_targets_of_all_epochs(whole):
    assert (whole.samples("target")[0] == -1).all() and np.isnan(whole.samples("target_prob")[0]).all() and np.array_equal(whole.samples("target")[1], whole.samples("target", 2))
    with pytest.raises(KeyError, match="no 'target' of epoch 1"): whole.samples("target", 1)

def test_studies_and_presets():
    sln, presets = resolve(method="sln+mo+lc", dataset="cifar10", noise="symmetric", device="cpu", options=dict(lc_soft=True))
    assert (sln.model, sln.epochs, sln.lr, sln.probe_size, sln.options["sigma"], sln.options["lc_soft"]) == ("wrn-28-2", 300, 0.001, 0, 1.0, True) and "sigma" in presets["options"]
    ce, _ = resolve(method="ce", study="sln", dataset="cifar10", noise="symmetric", device="cpu")
    assert (ce.model, ce.epochs, ce.schedule, ce.options) == ("wrn-28-2", 300, "constant", None)
    assert resolve(method="sln", dataset="cifar100", noise="dependent", device="cpu")[0].options == dict(sigma=0.1)
    assert resolve(method="sln", dataset="cifar10", noise="asymmetric", device="cpu", options=dict(sigma=0.3))[0].options == dict(sigma=0.3)
    assert resolve(method="l2r", dataset="cifar10", device="cpu")[0].model == "resnet32"

@pytest.mark.parametrize("kw, sentence", [
    (dict(method="mo"), "'mo' is an add-on and goes with a method, as in ce+mo"), (dict(method="sln+mu"), "unknown add-on 'mu'; known: lc, mo"),
    (dict(method="probe_only+lc", options=None, probe_size=50), "method 'probe_only' does not look at the given labels: there is nothing for lc to correct"), (dict(epochs=1, options=None), "but the run has 1 epoch: nothing would be corrected"),
    (dict(method="ce", options=None, noise="matrix", noise_rate=None, noise_options=dict(rules=3)), "option rules of noise 'matrix' must be text"), (dict(noise="openset", noise_options=dict(dataset="digits")), "takes images from another data set; got 'digits', the same one"),
    (dict(method="sln+mo+mo"), "has an add-on twice"), (dict(method="ce", options=dict(sigma=1.0)), "unknown option of method 'ce': 'sigma'; known: none"),
    (dict(options=dict(lc_after=3)), "lc option lc_after is 3, but the run has 3 epochs"), (dict(options=dict(ema_decay=1)), "mo option ema_decay is 1"),
    (dict(study="sln"), "study 'sln' has no settings for data set 'digits'; it has some for cifar10, cifar100, animal10n"), (dict(study="slm"), "unknown study 'slm'; did you mean 'sln'?"),
    (dict(noise="openset", options=None), "noise 'openset' takes images from another data set: set noise_options, {dataset: its name}"), (dict(noise="openset", noise_options=dict(data="cifar100")), "unknown option of noise 'openset': 'data'"),
    (dict(noise="dependent", noise_options=dict(run="{tmp}/none")), "none holds no run"), (dict(dataset="animal10n", noise=None, noise_rate=None), "animal10n"),
    (dict(noise=None, noise_rate=None, noise_file="{tmp}/bad.pt"), "bad.pt"),
], ids=str)
def test_bad_input(tmp_path, kw, sentence):
    torch.save(NoisyLabels, tmp_path/"bad.pt")
    kw = {k: {n: x.format(tmp=tmp_path) if isinstance(x, str) else x for n, x in v.items()} if isinstance(v, dict) else v.format(tmp=tmp_path) if isinstance(v, str) else v for k, v in kw.items()}
    with pytest.raises(Refused) as e: train(tmp_path/"run", **kw)
    assert sentence in str(e.value) and "\n" not in str(e.value) and not (tmp_path/"run").exists()
