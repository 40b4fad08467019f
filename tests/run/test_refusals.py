"""Settings and data that are refused: one sentence, a non-zero exit, nothing written."""
import numpy as np
import pandas as pd
import pytest
import torch

import shared
from conftest import SMALL, papermill, tree
from noisykit.data.source import load_dataset
from noisykit.errors import Refused
from noisykit.networks import create_network
from noisykit.record import Run
from noisykit.run import run_method
from noisykit.train.method import COMPOSED, known_methods

@pytest.fixture(autouse=True)
def one_thread():
    with shared.one_thread(): yield

BY_PAPERMILL = {
    "misspelt parameter": (dict(metod="l2r"), "ValueError", "unknown parameter 'metod'; did you mean 'method'?"),
    "unknown method": (dict(method="l2rr"), "ValueError",
                       "unknown method 'l2rr'; did you mean 'l2r'? known: "
                       + ", ".join(sorted([*known_methods(), *COMPOSED]))),
    "loss is no number": (dict(method="ce", lr=1e30), "FloatingPointError", "the loss is"),
}

@pytest.mark.parametrize("name", BY_PAPERMILL)
def test_by_papermill(tmp_path, name):
    kw, kind, sentence = BY_PAPERMILL[name]
    done = papermill("run_method", tmp_path/"out.ipynb", run_dir=tmp_path/"run", **SMALL | kw)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode != 0 and last.startswith(f"{kind}: ") and sentence in last
    assert "Traceback" not in done.stderr.split("Exception encountered")[-1]
    assert (tmp_path/"run").exists() == (kind == "FloatingPointError")   # what came before the bad step is kept

NOISE_FILE = dict(noise=None, noise_rate=None)
WRONG = {
    "data set": (dict(dataset="mnist"), "unknown dataset 'mnist'; did you mean 'mnist5k'?"),
    "law": (dict(noise="symetric"), "unknown noise 'symetric'; did you mean 'symmetric'?"),
    "network": (dict(model="resnet31"), "unknown network 'resnet31'"),
    "method option": (dict(method="l2r", options={"wieghting": "clamp"}),
                      "unknown option of method 'l2r': 'wieghting'; did you mean 'weighting'? "
                      "known: weighting, scale, reduction"),
    "method option's value": (dict(method="l2r", options={"scale": float("nan")}), "option scale is nan"),
    "noise option": (dict(noise_options={"map": "next"}), "unknown option of noise 'symmetric': 'map'; known: none"),
    "noise option that is an argument": (dict(noise_options={"rate": 0.1}),
                                         "unknown option of noise 'symmetric': 'rate'"),
    "data option": (dict(data_options={"size": 3}),
                    "unknown option of data set 'digits': 'size'; did you mean 'test_size'? "
                    "known: train_size, test_size, sample, sample_seed, imbalance, augment"),
    "data option's type": (dict(data_options={"train_size": "abc"}),
                           "data option train_size must be a whole number; got 'abc'"),
    "map of names": (dict(noise="asymmetric", noise_options={"map": {"cat": "dog"}}),
                     "an asymmetric map goes from class number to class number"),
    "rate beside no noise": (dict(noise="none"), "noise_rate 0.6 has no meaning with noise 'none'"),
    "momentum beside adam": (dict(optimizer="adam", momentum=0.5), "momentum is SGD's; optimizer is 'adam'"),
    "adamw by higher": (dict(method="l2r", optimizer="adamw", engine="higher"), "engine 'higher' has no AdamW"),
    "schedule": (dict(schedule={"milestones": "80", "gamma": 0.1}), "unknown schedule"),
    "type": (dict(epochs=2.5), "epochs must be a whole number; got 2.5"),
    "nan": (dict(lr=float("nan")), "lr must be a number of at least 0; got nan"),
    "folder for data that has none": (dict(data_dir="{tmp}/empty"),
                                      "data set 'digits' comes with a dependency and takes no data_dir"),
    "run folder is a file": (dict(run_dir="{tmp}/short.npy"), "short.npy is a file; a run needs a folder"),
    "run folder of something else": (dict(run_dir="{tmp}/foreign"), "holds files of something else"),
    "run folder with a broken configuration": (dict(run_dir="{tmp}/broken"), "cannot be read as a run's configuration"),
    "network too deep for the pictures": (dict(model="resnet18", batch_size=1),
                                          "cannot train on 1 samples of shape (1, 8, 8)"),
    "empty noise file": (dict(NOISE_FILE, noise_file="{tmp}/empty.csv"), "empty.csv cannot be read as csv"),
    "noise file with a gap": (dict(NOISE_FILE, noise_file="{tmp}/gap.csv"),
                              "gap.csv: label '' of sample 7 is neither a number 0..9"),
    "rate": (dict(noise_rate=1.01), "noise_rate must be a number from 0 to 1; got 1.01"),
    "label out of range": (dict(NOISE_FILE, noise_file="{tmp}/high.csv"),
                           "label 10 of sample 3 is out of range: labels are 0..9"),
    "probe too large for a class": (dict(probe_size=1430),
                                    "probe_size 1430 needs 143 images of each class; class '8' has 139"),
    "no probe": (dict(method="l2r", probe_size=0), "method 'l2r' needs a probe"),
    "data folder missing": (dict(dataset="fashion_mnist", data_dir="{tmp}/nowhere"), "nowhere does not exist"),
    "data folder empty": (dict(dataset="fashion_mnist", data_dir="{tmp}/empty"),
                          "holds no Fashion-MNIST files: expected train-images-idx3-ubyte"),
    "image folder empty": (dict(dataset="imagefolder", data_dir="{tmp}/empty"), "holds 0 class folders"),
    "noise file too short": (dict(NOISE_FILE, noise_file="{tmp}/short.npy"), "has 5 labels, the data set has 1437"),
    "noise file of another order": (dict(NOISE_FILE, noise_file="{tmp}/order.csv"), "is for another data set or order"),
    "device": (dict(device="tpu"), "device 'tpu' cannot be used"),
    "weights missing": (dict(weights="{tmp}/no.pt"), "no.pt"),
    "weights of another network": (dict(weights="IMAGENET1K_V1"), "weights 'IMAGENET1K_V1' for cnn are not a file"),
    "probe twice": (dict(probe_file="{tmp}/probe.txt"), "probe_file and probe_size exclude each other"),
    "probe file missing": (dict(probe_size=None, probe_file="{tmp}/probe.txt"), "probe.txt does not exist"),
}

@pytest.fixture(scope="module")
def files(tmp_path_factory):
    "A folder with all that the cases name, most of it wrong"
    folder, labels = tmp_path_factory.mktemp("files"), load_dataset("digits").labels
    def write(name, true, given): pd.DataFrame(dict(label=true, label_noisy=given)).to_csv(folder/name, index=False)
    number = np.arange(len(labels))
    write("high.csv", labels, np.where(number == 3, 10, labels))
    write("gap.csv", labels, np.where(number == 7, np.nan, labels))
    write("order.csv", labels[::-1], labels[::-1])
    np.save(folder/"short.npy", labels[:5])
    (folder/"empty.csv").touch()
    (folder/"empty").mkdir()
    for name, text in (("foreign/metrics.csv", "mine"), ("broken/config.yaml", "a: [")):
        (folder/name).parent.mkdir()
        (folder/name).write_text(text)
    return folder

@pytest.mark.parametrize("name", WRONG)
def test_in_one_sentence(files, tmp_path, name):
    kw, sentence = WRONG[name]
    kw = {k: v.format(tmp=files) if isinstance(v, str) else v for k, v in kw.items()}
    before = tree(files)
    with pytest.raises(Refused) as e: run_method(**SMALL | dict(method="ce", run_dir=str(tmp_path/"run")) | kw)
    assert sentence in str(e.value) and "\n" not in str(e.value)
    assert tree(files) == before and not (tmp_path/"run").exists()

def test_a_folder_with_another_configuration(l2r_run):
    _, folder = l2r_run
    before, kw = tree(folder), SMALL | dict(method="l2r", run_dir=str(folder))
    with pytest.raises(Refused, match="holds another configuration: noise_rate is 0.6 there and 0.5 here"):
        run_method(**kw | dict(noise_rate=0.5))
    with pytest.raises(Refused, match="already holds this run"): run_method(**kw, resume=False)
    assert tree(folder) == before

def test_a_run_is_not_continued_on_other_data(tmp_path):
    "Same settings, but somebody edited the noise file: the record belongs to the old labels and stays as it is"
    labels, file = load_dataset("digits").labels, tmp_path/"noise.npy"
    np.save(file, labels)
    kw = SMALL | NOISE_FILE | dict(method="ce", noise_file=str(file), run_dir=str(tmp_path/"run"), quiet=True)
    run_method(**kw)
    before = tree(tmp_path/"run")
    np.save(file, (labels + 1) % 10)
    with pytest.raises(Refused, match="was made from other data"): run_method(**kw)
    assert tree(tmp_path/"run") == before

def test_a_loss_that_is_no_number_keeps_the_record(tmp_path):
    "The first epoch is good; then the loss blows up: what was recorded stays, and the message says where"
    def train(name, gamma):
        schedule = dict(milestones=[1], gamma=gamma)
        return run_method(method="ce", run_dir=str(tmp_path/name), quiet=True, **SMALL | dict(schedule=schedule))
    good = train("good", 1.)
    with pytest.raises(Refused, match=r"at epoch 2, step \d+: training stopped; the record up to epoch 1 is in"):
        train("bad", 1e18)
    kept = Run(tmp_path/"bad")
    assert kept.metrics.epoch.tolist() == [1] and np.array_equal(kept.samples("loss", 1), good.samples("loss", 1))

def test_imagenet_weights_come_from_torchvisions_cache(tmp_path, monkeypatch):
    """The release by its name; a layer for another number of classes starts anew. Without the file, and no way to get
    it, one sentence and no random start"""
    file = tmp_path/"home/hub/checkpoints/resnet18-f37072fd.pth"
    monkeypatch.setenv("TORCH_HOME", str(tmp_path/"home"))
    file.parent.mkdir(parents=True)
    there = create_network("resnet18", 1000)
    torch.save(there.state_dict(), file)
    net = create_network("resnet18", 9, weights="IMAGENET1K_V1")
    assert torch.equal(net.conv1.weight, there.conv1.weight) and net.fc.out_features == 9
    file.unlink()
    def offline(*a, **k): raise OSError("no network")
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    said = f"{file.name} and could not be downloaded .no network.; put them there, name a file, or say 'random'"
    kw = SMALL | dict(method="ce", model="resnet18", weights="IMAGENET1K_V1", run_dir=str(tmp_path/"run"))
    with pytest.raises(Refused, match=said): run_method(quiet=True, **kw)
    assert not (tmp_path/"run").exists()
