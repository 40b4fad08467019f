"""Whole runs by papermill, as a user starts them."""
import json

import numpy as np
import pandas as pd
import pytest
import torch

from conftest import ROOT, SMALL, papermill, tree
from noisykit.networks import create_network
from noisykit.record import Run
from noisykit.errors import Refused
from noisykit.run import run_method

def test_papermill_trains_what_was_asked_for(l2r_run):
    done, folder, out = l2r_run
    assert done.returncode == 0, done.stderr[-3000:]
    run = Run(folder)
    assert (run.config["method"], run.config["noise_rate"], run.config["epochs"]) == ("l2r", 0.6, 2)   # not the notebook's defaults
    assert run.presets["lr"] == "default" and "method" not in run.presets
    assert {"epoch", "train_loss", "train_loss_clean", "train_loss_flipped", "test_accuracy", "weight_clean"} <= set(run.metrics)
    assert run.metrics.epoch.tolist() == [1, 2] and run.metrics.test_accuracy.iloc[-1] > 0.5
    assert run.samples("weight").shape == (2, len(run.labels)) and run.labels.flipped.mean() == pytest.approx(0.6, abs=0.05)
    assert {p.stem for p in (folder/"figures").glob("*.png")} == {"learning_curves", "weights", "pred_probs", "sample_dissect", "transitions", "confusion", "best_fits", "worst_fits"}
    assert list((folder/"tensorboard").glob("events*")) and run.env["torch"] == torch.__version__
    outputs = [o for c in json.loads(out.read_text())["cells"] for o in c.get("outputs", [])]
    assert not [o for o in outputs if o["output_type"] == "error"] and sum("image/png" in o.get("data", {}) for o in outputs) >= 6
    assert not [o for o in outputs if "Warning" in "".join(o.get("text", ""))]

def test_the_record_is_plain_files(l2r_run):
    _, folder, _ = l2r_run
    labels, metrics = pd.read_csv(folder/"labels.csv"), pd.read_csv(folder/"metrics.csv")
    with np.load(folder/"samples/0002.npz") as z: values = dict(z)
    train = labels[labels.split == "train"]
    assert set(values) == {"given_prob", "prediction", "max_prob", "loss", "margin", "weight"} and all(len(v) == len(train) for v in values.values())
    assert ((values["prediction"] == train.given).mean()) == pytest.approx(metrics.train_accuracy.iloc[-1])
    assert values["loss"][train.flipped].mean() == pytest.approx(metrics.train_loss_flipped.iloc[-1], rel=1e-5)

def test_without_an_output_path(tmp_path):
    "papermill then prints the notebook; the run folder must be there all the same, and the source untouched"
    before = tree(ROOT/"nbs")
    done = papermill("run_method", method="ce", run_dir=tmp_path/"run", **SMALL | dict(epochs=1))
    assert done.returncode == 0 and json.loads(done.stdout)["cells"]
    assert len(Run(tmp_path/"run").metrics) == 1 and (tmp_path/"run/figures/learning_curves.png").is_file()
    assert tree(ROOT/"nbs") == before

def test_a_finished_run_is_read_not_repeated(l2r_run):
    _, folder, out = l2r_run
    before = (folder/"metrics.csv").read_bytes()
    assert papermill("run_method", out, method="l2r", run_dir=folder, **SMALL).returncode == 0
    assert (folder/"metrics.csv").read_bytes() == before

@pytest.fixture
def one_thread():
    n = torch.get_num_threads(); torch.set_num_threads(1); yield; torch.set_num_threads(n)

@pytest.fixture(autouse=True)
def _single(one_thread): "papermill's processes have one thread; so must runs that are compared with theirs"

def test_engines_agree_over_a_whole_run(tmp_path):
    jvp, higher = (run_method(method="l2r", engine=e, precision="float64", run_dir=str(tmp_path/e), quiet=True, **SMALL) for e in ("jvp", "higher"))
    for name in ("loss", "weight"): assert np.allclose(jvp.samples(name), higher.samples(name), rtol=1e-4, atol=1e-5)

@pytest.mark.parametrize("kw", [dict(precision="bfloat16"), dict(optimizer="adamw", lr=3e-3), dict(optimizer="adam", lr=3e-3), dict(options={"weighting": "sigmoid", "scale": "std"}),
                                dict(grad_clip=0.25), dict(model="lenet", epochs=20), dict(schedule={"milestones": [1], "gamma": 0.1}), dict(noise="uniform"), dict(nesterov=True), dict(val_share=0.2)], ids=str)
def test_variants_learn(tmp_path, kw):
    run = run_method(method="l2r", run_dir=str(tmp_path/"r"), quiet=True, **SMALL | dict(epochs=3) | kw)
    assert run.metrics.objective.iloc[-1] < run.metrics.objective.iloc[0] and run.metrics.test_accuracy.iloc[-1] > (0.2 if "lenet" in kw.values() else 0.4)
    if "schedule" in kw: assert run.metrics.lr_now.tolist() == pytest.approx([0.05, 0.005, 0.005])
    if "val_share" in kw: assert run.metrics.valid_accuracy.iloc[-1] < 0.6 < run.metrics.test_accuracy.iloc[-1]   # its labels are noisy

def test_global_generators_are_left_alone(tmp_path):
    torch.manual_seed(1); np.random.seed(1)
    state = torch.get_rng_state(), np.random.get_state()[1].copy(), torch.get_default_dtype(), torch.are_deterministic_algorithms_enabled()
    run_method(method="ce", run_dir=str(tmp_path/"r"), precision="float64", quiet=True, **SMALL)
    assert torch.equal(state[0], torch.get_rng_state()) and (state[1] == np.random.get_state()[1]).all()
    assert (state[2], state[3]) == (torch.get_default_dtype(), torch.are_deterministic_algorithms_enabled())

def test_noise_from_a_file_gives_the_same_run(tmp_path):
    from noisykit.data.source import load_dataset
    from noisykit.data.noise import make_noise, save_noise
    save_noise(make_noise(load_dataset("digits").labels, 10, "symmetric", 0.6, seed=0), tmp_path/"n.csv")
    a = run_method(method="ce", run_dir=str(tmp_path/"a"), quiet=True, **SMALL)
    b = run_method(method="ce", run_dir=str(tmp_path/"b"), quiet=True, noise_file=str(tmp_path/"n.csv"), **{k: v for k, v in SMALL.items() if "noise" not in k})
    assert np.array_equal(a.samples("loss"), b.samples("loss")) and (a.labels == b.labels).all(axis=None)

def test_own_images(tmp_path, digit_folder):
    "A folder of JPEGs through worker processes, by papermill; a broken one is named, skipped when asked, and counted"
    broken = digit_folder/"1"/"broken.jpg"
    broken.write_bytes(b"no picture")
    params = dict(method="ce", dataset="imagefolder", data_dir=digit_folder, model="cnn", epochs=2, batch_size=16, run_dir=tmp_path/"run", device="cpu")
    before = tree(digit_folder)
    refused = papermill("run_method", tmp_path/"a.ipynb", yaml="data_options: {image_size: 16, workers: 2}", **params)
    assert refused.returncode and str(broken) in refused.stderr and "1 of 91 images are unreadable" in refused.stderr and not (tmp_path/"run").exists()
    taken = papermill("run_method", tmp_path/"b.ipynb", yaml="data_options: {image_size: 16, workers: 2, skip_unreadable: true}", **params)
    assert taken.returncode == 0, taken.stderr[-3000:]
    assert "1 unreadable images skipped" in (tmp_path/"b.ipynb").read_text() and len(Run(tmp_path/"run").labels) == 72
    assert tree(digit_folder) == before
    moved = digit_folder.rename(tmp_path/"elsewhere")   # the same pictures in another place are the same data
    again = dict(params, data_dir=str(moved), run_dir=str(tmp_path/"run"), data_options=dict(image_size=16, workers=2, skip_unreadable=True))
    assert len(run_method(quiet=True, **again).metrics) == 2
    (moved/"0"/"00.jpg").rename(moved/"0"/"other.jpg")
    with pytest.raises(Refused, match="was made from other data"): run_method(quiet=True, **again)

@pytest.fixture
def digit_folder(tmp_path):
    "90 digits as JPEGs, a folder a class"
    from PIL import Image
    from noisykit.data.source import load_dataset
    s = load_dataset("digits")
    for c in range(3):
        (tmp_path/f"images/{c}").mkdir(parents=True)
        for k, i in enumerate(np.flatnonzero(s.labels == c)[:30]): Image.fromarray(s.train.pixels[i, 0].numpy()).resize((24, 20)).save(tmp_path/f"images/{c}/{k:02}.jpg")
    return tmp_path/"images"

# ---- bad input: one sentence, a non-zero exit, nothing written

BAD = {
    "misspelt parameter": (dict(metod="l2r"), "unknown parameter 'metod'; did you mean 'method'?"),
    "unknown method": (dict(method="l2rr"), "unknown method 'l2rr'; did you mean 'l2r'? known: ce, dividemix, fsr, ieg, l2r, mixup_hard, mixup_soft, mlc, probe_only, proposal, sln, supervised, upper_bound"),
    "NaN loss": (dict(method="ce", lr=1e30, run_dir="{tmp}/nan"), "the loss is"),
}

@pytest.mark.parametrize("name", BAD)
def test_bad_input_by_papermill(tmp_path, name):
    params, sentence = BAD[name]
    params = {k: str(v).format(tmp=tmp_path) for k, v in params.items()}
    runs = set((ROOT/"runs").glob("*"))
    done = papermill("run_method", tmp_path/"out.ipynb", **SMALL | dict(dataset="digits") | params)
    assert done.returncode != 0 and sentence in done.stderr.strip().splitlines()[-1]
    assert done.stderr.strip().splitlines()[-1].split(":")[0] in ("ValueError", "FloatingPointError")
    assert "Traceback" not in done.stderr.split("Exception encountered")[-1]
    assert set((ROOT/"runs").glob("*")) == runs

IN_PROCESS = {
    "data set": (dict(dataset="mnist"), "unknown dataset 'mnist'; did you mean 'mnist5k'?"),
    "law": (dict(noise="symetric"), "unknown noise 'symetric'; did you mean 'symmetric'?"),
    "network": (dict(model="resnet31"), "unknown network 'resnet31'"),
    "method option": (dict(method="l2r", options={"wieghting": "clamp"}), "unknown option of method 'l2r': 'wieghting'; did you mean 'weighting'? known: weighting, scale, reduction"),
    "method option's value": (dict(method="l2r", options={"scale": float("nan")}), "option scale is nan"),
    "noise option": (dict(noise_options={"map": "next"}), "unknown option of noise 'symmetric': 'map'; known: none"),
    "noise option that is an argument": (dict(noise_options={"rate": 0.1}), "unknown option of noise 'symmetric': 'rate'"),
    "data option": (dict(data_options={"size": 3}), "unknown option of data set 'digits': 'size'; did you mean 'test_size'? known: train_size, test_size, sample, sample_seed, imbalance, augment"),
    "data option's type": (dict(data_options={"train_size": "abc"}), "data option train_size must be a whole number; got 'abc'"),
    "map of names": (dict(noise="asymmetric", noise_options={"map": {"cat": "dog"}}), "an asymmetric map goes from class number to class number"),
    "rate beside no noise": (dict(noise="none"), "noise_rate 0.6 has no meaning with noise 'none'"),
    "momentum beside adam": (dict(optimizer="adam", momentum=0.5), "momentum is SGD's; optimizer is 'adam'"),
    "adamw by higher": (dict(method="l2r", optimizer="adamw", engine="higher"), "engine 'higher' has no AdamW"),
    "schedule": (dict(schedule={"milestones": "80", "gamma": 0.1}), "unknown schedule"),
    "type": (dict(epochs=2.5), "epochs must be a whole number; got 2.5"),
    "nan": (dict(lr=float("nan")), "lr must be a number of at least 0; got nan"),
    "folder for data that has none": (dict(data_dir="{tmp}/empty"), "data set 'digits' comes with a dependency and takes no data_dir"),
    "run folder is a file": (dict(run_dir="{tmp}/short.npy"), "short.npy is a file; a run needs a folder"),
    "run folder of something else": (dict(run_dir="{tmp}/foreign"), "holds files of something else"),
    "run folder with a broken configuration": (dict(run_dir="{tmp}/broken"), "cannot be read as a run's configuration"),
    "network too deep for the pictures": (dict(model="resnet18", batch_size=1), "cannot train on 1 samples of shape (1, 8, 8)"),
    "empty noise file": (dict(noise=None, noise_rate=None, noise_file="{tmp}/empty.csv"), "empty.csv cannot be read as csv"),
    "noise file with a gap": (dict(noise=None, noise_rate=None, noise_file="{tmp}/gap.csv"), "gap.csv: label nan of sample 7 is no whole number"),
    "rate": (dict(noise_rate=1.01), "noise_rate must be a number from 0 to 1; got 1.01"),
    "label out of range": (dict(noise=None, noise_rate=None, noise_file="{tmp}/high.csv"), "label 10 of sample 3 is out of range: labels are 0..9"),
    "probe too large for a class": (dict(probe_size=1430), "probe_size 1430 needs 143 images of each class; class '8' has 139"),
    "no probe": (dict(method="l2r", probe_size=0), "method 'l2r' needs a probe"),
    "data folder missing": (dict(dataset="fashion_mnist", data_dir="{tmp}/nowhere"), "nowhere does not exist"),
    "data folder empty": (dict(dataset="fashion_mnist", data_dir="{tmp}/empty"), "holds no Fashion-MNIST files: expected train-images-idx3-ubyte"),
    "image folder empty": (dict(dataset="imagefolder", data_dir="{tmp}/empty"), "holds 0 class folders"),
    "noise file too short": (dict(noise=None, noise_rate=None, noise_file="{tmp}/short.npy"), "has 5 labels, the data set has 1437"),
    "noise file of another order": (dict(noise=None, noise_rate=None, noise_file="{tmp}/order.csv"), "is for another data set or order"),
    "device": (dict(device="tpu"), "device 'tpu' cannot be used"),
    "weights missing": (dict(weights="{tmp}/no.pt"), "no.pt"),
    "weights of another network": (dict(weights="IMAGENET1K_V1"), "weights 'IMAGENET1K_V1' for cnn are not a file"),
    "probe twice": (dict(probe_file="{tmp}/probe.txt"), "probe_file and probe_size exclude each other"),
    "probe file missing": (dict(probe_size=None, probe_file="{tmp}/probe.txt"), "probe.txt does not exist"),
}

@pytest.mark.parametrize("name", IN_PROCESS)
def test_bad_input(tmp_path, name):
    from noisykit.data.source import load_dataset
    kw, sentence = IN_PROCESS[name]
    y = load_dataset("digits").labels
    (tmp_path/"empty").mkdir()
    high = y.copy(); high[3] = 10
    pd.DataFrame({"label": y, "label_noisy": high}).to_csv(tmp_path/"high.csv", index=False)
    pd.DataFrame({"label": y[::-1], "label_noisy": y[::-1]}).to_csv(tmp_path/"order.csv", index=False)
    np.save(tmp_path/"short.npy", y[:5])
    pd.DataFrame({"label": y, "label_noisy": [None if i == 7 else v for i, v in enumerate(y)]}).to_csv(tmp_path/"gap.csv", index=False)
    (tmp_path/"empty.csv").touch()
    for folder, name, text in (("foreign", "metrics.csv", "mine"), ("broken", "config.yaml", "a: [")): (tmp_path/folder).mkdir(); (tmp_path/folder/name).write_text(text)
    before = tree(tmp_path)
    filled = {k: v.format(tmp=tmp_path) if isinstance(v, str) else v for k, v in kw.items()}
    with pytest.raises(Refused) as e: run_method(**SMALL | dict(method="ce", run_dir=str(tmp_path/"run")) | filled)
    assert sentence in str(e.value) and "\n" not in str(e.value)
    assert tree(tmp_path) == before and not (tmp_path/"run").exists()

def test_a_folder_with_another_configuration_is_refused(l2r_run):
    _, folder, _ = l2r_run
    before = tree(folder)
    with pytest.raises(Refused, match="holds another configuration: noise_rate is 0.6 there and 0.5 here"):
        run_method(method="l2r", run_dir=str(folder), **SMALL | dict(noise_rate=0.5))
    with pytest.raises(Refused, match="already holds this run"): run_method(method="l2r", run_dir=str(folder), resume=False, **SMALL)
    assert tree(folder) == before

def test_a_run_is_not_continued_on_other_data(tmp_path):
    "Same settings, but somebody edited the noise file: the record belongs to the old labels and stays as it is"
    from noisykit.data.source import load_dataset
    y = load_dataset("digits").labels
    np.save(tmp_path/"n.npy", y)
    kw = {k: v for k, v in SMALL.items() if "noise" not in k} | dict(method="ce", noise_file=str(tmp_path/"n.npy"), run_dir=str(tmp_path/"run"), quiet=True)
    run_method(**kw)
    before = tree(tmp_path/"run")
    np.save(tmp_path/"n.npy", (y + 1) % 10)
    with pytest.raises(Refused, match="was made from other data"): run_method(**kw)
    assert tree(tmp_path/"run") == before

def test_a_loss_that_is_no_number_keeps_the_record(tmp_path):
    "The first epochs are good; then the loss blows up: what was recorded stays, and the message says where"
    run_method(method="ce", run_dir=str(tmp_path/"r"), quiet=True, **SMALL | dict(epochs=2, schedule={"milestones": [1], "gamma": 1.0}))
    with pytest.raises(Refused, match=r"at epoch 2, step \d+: training stopped; the record up to epoch 1 is in"):
        run_method(method="ce", run_dir=str(tmp_path/"s"), quiet=True, **SMALL | dict(epochs=3, schedule={"milestones": [1], "gamma": 1e30}))
    good, kept = Run(tmp_path/"r"), Run(tmp_path/"s")
    assert kept.metrics.epoch.tolist() == [1] and np.array_equal(kept.samples("loss", 1), good.samples("loss", 1))

def test_imagenet_weights_come_from_torchvisions_cache(tmp_path, monkeypatch):
    "The release by its name; a layer for another number of classes starts anew. Without the file, and no way to get it, one sentence and no random start"
    monkeypatch.setenv("TORCH_HOME", str(tmp_path/"home"))
    (cache := tmp_path/"home/hub/checkpoints").mkdir(parents=True)
    there = create_network("resnet18", 1000)
    torch.save(there.state_dict(), cache/"resnet18-f37072fd.pth")
    net = create_network("resnet18", 9, weights="IMAGENET1K_V1")
    assert torch.equal(net.conv1.weight, there.conv1.weight) and net.fc.out_features == 9
    (cache/"resnet18-f37072fd.pth").unlink()
    def offline(*a, **k): raise OSError("no network")
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(Refused, match="resnet18-f37072fd.pth and could not be downloaded .no network.; put them there, name a file, or say 'random'"):
        run_method(method="ce", run_dir=str(tmp_path/"run"), quiet=True, **SMALL | dict(model="resnet18", weights="IMAGENET1K_V1"))
    assert not (tmp_path/"run").exists()

def test_a_probe_by_list(tmp_path):
    (tmp_path/"probe.csv").write_text("index\n" + "\n".join(map(str, range(0, 100, 2))) + "\n")
    run = run_method(method="l2r", probe_file=str(tmp_path/"probe.csv"), run_dir=str(tmp_path/"run"), quiet=True, **SMALL | dict(probe_size=None))
    assert run.all_labels.query("split == 'probe'")["index"].tolist() == list(range(0, 100, 2)) and run.config["probe_size"] is None
    assert (run.labels["index"] % 2 == 1)[:50].all()
