"""SLN with its add-ons, an average of the weights (mo) and corrected labels (lc). Whole runs in this process."""
from functools import wraps

import numpy as np
import pytest
import torch

from conftest import SMALL
from noisykit.config import Config
from noisykit.data.noise import NoisyLabels
from noisykit.data.source import DATASETS
from noisykit.errors import Refused
from noisykit.methods.sln import SLN
from noisykit.resolve import resolve
from noisykit.run import run_method
from noisykit.train.method import Batch
from pictures import digits_of, save_digit
from refusals import refused
from shared import checkpoint

OPTIONS = dict(lc_after=1, ema_decay=0.9)
OWN = dict(method="sln+mo+lc", options=OPTIONS, probe_size=0, epochs=3, lr=0.02)

def train(folder, **settings): return run_method(quiet=True, run_dir=str(folder), **SMALL | OWN | settings)

@pytest.fixture(scope="module")
def whole(tmp_path_factory): return train(tmp_path_factory.mktemp("sln")/"run")

# ---- add-ons

def test_one_run_evaluates_both_networks(whole):
    assert {"test_accuracy", "test_accuracy_ema", "test_loss_ema"} <= set(whole.metrics)
    assert not np.array_equal(whole.samples("loss", "final"), whole.samples("loss", "final_ema"))
    saved = checkpoint(whole.folder)
    average = saved["parts"][1]
    assert all(torch.isfinite(values).all() for values in average.values())
    assert set(average) == set(saved["net"])

def test_the_order_of_add_ons_does_not_matter(whole, tmp_path):
    other = train(tmp_path/"run", method="sln+lc+mo")
    for name in ("loss", "margin", "prediction"): assert np.array_equal(whole.samples(name), other.samples(name))

def test_correction(whole):
    "No correction in epoch 1; then targets between given label and the average's prediction"
    target, given = whole.samples("target", 2), whole.labels.given.to_numpy()
    assert "target" not in np.load(whole.folder/"samples/0001.npz")
    assert whole.metrics.target_true.isna().tolist() == [True, False, False]
    probability = whole.samples("target_prob", 2)
    assert (probability >= 0.5 - 1e-6).all()
    assert (probability <= 1 + 1e-6).all()
    assert 0.1 < (target != given).mean() < 0.9

def test_targets_of_all_epochs(whole):
    "An epoch without targets has -1 and NaN beside the others, and none when it is asked for alone"
    assert (whole.samples("target")[0] == -1).all()
    assert np.isnan(whole.samples("target_prob")[0]).all()
    assert np.array_equal(whole.samples("target")[1], whole.samples("target", 2))
    with pytest.raises(KeyError, match="no 'target' of epoch 1"): whole.samples("target", 1)

def test_corrected_labels_get_no_noise():
    class Trainer: config, steps = Config(seed=0), 0
    sln, labels = SLN(Trainer, SLN.Options(1.0)), torch.tensor([0, 2])
    noisy = sln.noisy(Batch(None, None, labels, 1, 2), 3)
    assert not torch.equal(noisy, torch.eye(3)[labels])
    assert torch.equal(sln.noisy(Batch(None, None, noisy, 1, 2, corrected=True), 3), noisy)

@pytest.fixture
def shifted_digits(monkeypatch):
    "scikit-learn's digits with an augmentation: shifts by a pixel"
    digits = DATASETS["digits"]
    @wraps(digits)
    def shifted(data_dir):
        source = digits(data_dir)
        source.train.pad = 1
        return source
    monkeypatch.setitem(DATASETS, "digits", shifted)

@pytest.mark.parametrize("quirk, first", [("lc_soft", 2), ("lc_augment", 2), ("lc_chain", 3)])
def test_quirks_are_options(tmp_path, quirk, first, shifted_digits):
    "Each changes the targets from the epoch on in which it has a meaning"
    whole, other = train(tmp_path/"whole"), train(tmp_path/"other", options=OPTIONS | {quirk: True})
    for epoch in (2, 3):
        same = np.array_equal(other.samples("target_prob", epoch), whole.samples("target_prob", epoch))
        assert same == (epoch < first)

ANY_METHOD = [
    ("ce+lc", dict(lc_after=1)),
    ("l2r+mo+lc", dict(lc_after=1, ema_decay=0.9)),
    ("probe_only+mo", dict(ema_decay=0.9)),
]

def test_add_ons_go_with_any_method(tmp_path):
    for method, options in ANY_METHOD:
        run = train(tmp_path/method, method=method, probe_size=50, options=options)
        assert ("test_accuracy_ema" in run.metrics) == ("mo" in method)
        assert run.has("target") == ("lc" in method)

def test_a_lost_final_file_is_made_again(whole):
    before = whole.samples("loss", "final_ema")
    (whole.folder/"samples/final_ema.npz").write_bytes(b"cut short")
    with pytest.raises(OSError, match="final_ema.npz cannot be read"): whole.samples("loss", "final_ema")
    assert np.array_equal(train(whole.folder).samples("loss", "final_ema"), before)

def test_imagefolder(tmp_path):
    "Images that are decoded by workers are predicted and averaged over, too"
    for label in range(2):
        for k, number in enumerate(digits_of(label)[:20]):
            save_digit(tmp_path/f"images/{label}/{k:02}.png", number)
    run = run_method(quiet=True, method="ce+mo+lc", dataset="imagefolder", data_dir=str(tmp_path/"images"),
                     data_options=dict(image_size=16, workers=0), model="cnn", batch_size=8, epochs=2,
                     run_dir=str(tmp_path/"run"), device="cpu", options=dict(lc_augment=True))
    assert run.has("target")
    assert np.isfinite(run.samples("loss", "final_ema")).all()

# ---- settings

def test_a_config_can_be_given_again(whole):
    options = OPTIONS | dict(sigma=0.5, ema_ramp=False, lc_soft=False, lc_augment=False, lc_chain=False)
    assert resolve(**whole.config)[0].options == whole.config["options"] == options

def test_studies_and_presets():
    def settings(**given): return resolve(device="cpu", **given)[0]
    sln, presets = resolve(method="sln+mo+lc", dataset="cifar10", noise="symmetric", device="cpu",
                           options=dict(lc_soft=True))
    assert (sln.model, sln.epochs, sln.lr, sln.probe_size) == ("wrn-28-2", 300, 0.001, 0)
    assert (sln.options["sigma"], sln.options["lc_soft"]) == (1.0, True)
    assert "sigma" in presets["options"]
    ce = settings(method="ce", study="sln", dataset="cifar10", noise="symmetric")
    assert (ce.model, ce.epochs, ce.schedule, ce.options) == ("wrn-28-2", 300, "constant", None)
    assert settings(method="sln", dataset="cifar100", noise="dependent").options == dict(sigma=0.1)
    given = dict(sigma=0.3)
    assert settings(method="sln", dataset="cifar10", noise="asymmetric", options=given).options == given
    assert settings(method="l2r", dataset="cifar10").model == "resnet32"

SAME_DATA = "takes images from another data set; got 'digits', the same one"
NO_DATA = "noise 'openset' takes images from another data set: set noise_options, {dataset: its name}"
NO_CORRECTION = "method 'probe_only' does not look at the given labels: there is nothing for lc to correct"
REFUSED = [
    # methods, add-ons and their options
    (dict(method="mo"), "'mo' is an add-on and goes with a method, as in ce+mo"),
    (dict(method="sln+mu"), "unknown add-on 'mu'; known: lc, mo"),
    (dict(method="sln+mo+mo"), "has an add-on twice"),
    (dict(method="probe_only+lc", options=None, probe_size=50), NO_CORRECTION),
    (dict(epochs=1, options=None), "but the run has 1 epoch: nothing would be corrected"),
    (dict(options=dict(lc_after=3)), "lc option lc_after is 3, but the run has 3 epochs"),
    (dict(options=dict(ema_decay=1)), "mo option ema_decay is 1"),
    (dict(method="ce", options=dict(sigma=1.0)), "unknown option of method 'ce': 'sigma'; known: none"),
    # studies
    (dict(study="sln"),
     "study 'sln' has no settings for data set 'digits'; it has some for cifar10, cifar100, animal10n"),
    (dict(study="slm"), "unknown study 'slm'; did you mean 'sln'?"),
    # noise
    (dict(method="ce", options=None, noise="matrix", noise_rate=None, noise_options=dict(rules=3)),
     "option rules of noise 'matrix' must be text"),
    (dict(noise="openset", noise_options=dict(dataset="digits")), SAME_DATA),
    (dict(noise="openset", options=None), NO_DATA),
    (dict(noise="openset", noise_options=dict(data="cifar100")), "unknown option of noise 'openset': 'data'"),
    (dict(noise="dependent", noise_options=dict(run="{tmp}/none")), "none holds no run"),
    (dict(dataset="animal10n", noise=None, noise_rate=None), "animal10n"),
    (dict(noise=None, noise_rate=None, noise_file="{tmp}/bad.pt"), "bad.pt"),
]

def placed(value, folder):
    "Settings whose '{tmp}' is `folder`"
    if isinstance(value, dict): return {name: placed(inner, folder) for name, inner in value.items()}
    return value.format(tmp=folder) if isinstance(value, str) else value

@pytest.mark.parametrize("settings, said", REFUSED, ids=str)
def test_refusals(tmp_path, settings, said):
    torch.save(NoisyLabels, tmp_path/"bad.pt")
    with refused(text=said, kinds=Refused): train(tmp_path/"run", **placed(settings, tmp_path))
    assert not (tmp_path/"run").exists()
