"""Who judges a folder: what goes together, what is computed once, and that an opinion finds what was moved."""
import json
import os
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy.sparse import csr_matrix
from sklearn.datasets import load_digits

import warm
from noisykit.audit.audit import audit, check_finetune, choose_judge, who_can_judge
from noisykit.audit.backbone import Normalised, create_backbone, picture_features, without_last
from noisykit.audit.features import fold_numbers, held_out_probs, opinion_from_features
from noisykit.audit.look import list_images
from noisykit.audit.opinion import judge_labels, suspicion
from noisykit.errors import Refused
from noisykit.networks import create_network
from noisykit.train.batchnorm import set_batch_norm
from refusals import refused

DIGITS = load_digits()
CLASSES = [f"digit {i}" for i in range(10)]

def moved_digits(count):
    "(given labels, whether they were moved) of the first digits; every twentieth is moved"
    rng, moved = np.random.default_rng(0), np.arange(count) % 20 == 7
    return np.where(moved, (DIGITS.target[:count] + rng.integers(1, 10, count)) % 10, DIGITS.target[:count]), moved

def write(root, count):
    "Digits as files, by given label"
    for i, label in enumerate(moved_digits(count)[0]):
        (root/CLASSES[label]).mkdir(parents=True, exist_ok=True)
        Image.fromarray((DIGITS.images[i]*15).astype(np.uint8)).resize((16, 16)).save(root/CLASSES[label]/f"{i:04}.png")

@pytest.mark.parametrize("sparse", [False, True])
def test_an_opinion_from_features(sparse):
    given, moved = moved_digits(1000)
    features = csr_matrix(DIGITS.data[:1000]) if sparse else DIGITS.data[:1000]
    opinion = opinion_from_features(features, given, CLASSES)
    assert np.allclose(opinion.probs.sum(1), 1)
    first = np.argsort(-suspicion(opinion))[:50]
    assert moved[first].sum() >= 45
    table = judge_labels(opinion)
    assert (table.suggested != np.array(CLASSES)[given]).all()
    assert (table.suggested == np.array(CLASSES)[DIGITS.target[:1000]])[moved].mean() > .9

def test_a_label_has_no_say_about_itself():
    "A class of one sample: whoever judges it has not seen it"
    given, _ = moved_digits(300)
    given[5] = 10
    opinion = opinion_from_features(DIGITS.data[:300], given, [*CLASSES, "alone"], folds=3)
    assert opinion.probs[5, 10] < .1
    fold = fold_numbers(given, 3)
    class Prior:
        "Says how often it saw each class"
        def get_params(self, deep=True): return {}
        def fit(self, features, labels):
            self.classes_, self.counts = np.unique(labels, return_counts=True)
            return self
        def predict_proba(self, features): return np.tile(self.counts/self.counts.sum(), (len(features), 1))
    assert held_out_probs(Prior(), DIGITS.data[:300], given, 11, fold)[5, 10] == 0

def test_features_that_are_no_numbers():
    with refused(text="no numbers", kinds=ValueError): opinion_from_features([[1., np.nan], [0., 1.]], [0, 1], "ab")

# name -> settings of choose_judge, what is said
WRONG = {
    "unknown": (dict(judge="best"), "unknown judge 'best'"),
    "epochs": (dict(judge=None, epochs=3), "epochs is a setting of"),
    "random": (dict(judge="finetune", weights="random"), "needs pretrained weights"),
    "scratch": (dict(judge="scratch", weights="IMAGENET1K_V1"), "say judge finetune"),
    "file": (dict(judge="scratch", features_file="x.npy"), "setting of the judge features"),
}
UNTRAINABLE = ("mobilenet_v2", None), ("cnn", None), ("resnet31", "weights.pt")

@pytest.mark.parametrize("name", WRONG)
def test_settings_that_do_not_go_together(name):
    settings, said = WRONG[name]
    with refused(text=said, kinds=ValueError): choose_judge(**settings)

def test_backbones_that_cannot_be_had(tmp_path):
    with refused(text="unknown backbone 'resnet31'", kinds=ValueError): create_backbone("resnet31")
    with refused(text="name a file with weights", kinds=ValueError): create_backbone("cnn")
    with refused(text="are not a file", kinds=OSError): create_backbone("cnn", tmp_path/"no.pt")

def test_features_are_computed_once_a_content(tmp_path):
    "A pass that goes on, a file that has moved"
    write(tmp_path/"own", 60)
    paths = list_images(tmp_path/"own").path.tolist()
    net, digests = without_last(create_network("cnn", 10)).eval(), [f"digest {i}" for i in range(60)]
    whole = picture_features(net, paths, digests, 16, tmp_path/"kept")
    assert (picture_features(net, ["gone"]*60, digests, 16, tmp_path/"kept") == whole).all()
    part = picture_features(net, paths[:40], digests[:40], 16, tmp_path/"part")
    assert (part == whole[:40]).all()
    assert np.allclose(picture_features(net, paths, digests, 16, tmp_path/"part"), whole, atol=2e-3)

def test_an_audit_by_features_of_a_file(tmp_path):
    "A row an image, also for one that cannot be read; a copy has the score of its first"
    write(tmp_path/"own", 400)
    (tmp_path/"own"/CLASSES[0]/"cut.png").write_bytes(b"x")
    images = list_images(tmp_path/"own")
    stems = images.name.str.extract(r"(\d{4})\.")[0].fillna(0).astype(int)
    np.savez(tmp_path/"mine.npz", features=DIGITS.data[stems])
    table = audit(tmp_path/"own", tmp_path/"run", features_file=tmp_path/"mine.npz", device="cpu")
    assert len(table) == 400
    assert (table.path.str[-8:-4].astype(int) % 20 == 7)[:20].sum() >= 16
    about = json.loads((tmp_path/"run/audit.json").read_text())
    assert about["judge"] == "features" and about["training"]["model"] == "cnn"
    assert pd.read_csv(tmp_path/"run/suspects.csv").path.tolist() == table.path.tolist()
    before = (tmp_path/"run/suspects.csv").read_bytes()
    np.save(tmp_path/"few.npy", DIGITS.data[:9])
    with refused(text="for each of the 401 images", kinds=Refused):
        audit(tmp_path/"own", tmp_path/"run", features_file=tmp_path/"few.npy")
    assert (tmp_path/"run/suspects.csv").read_bytes() == before

def test_the_command_audits_a_folder(tmp_path):
    write(tmp_path/"own", 100)
    stems = list_images(tmp_path/"own").name.str.extract(r"(\d{4})\.")[0].astype(int)
    np.savez(tmp_path/"mine.npz", features=DIGITS.data[stems])
    settings = ["-p", "run_dir", "audited", "-p", "features_file", str(tmp_path/"mine.npz"), "-p", "device", "cpu"]
    done = warm.noisykit(["audit", str(tmp_path/"own"), *settings], tmp_path)
    assert done.returncode == 0, done.stderr
    assert {"audit.ipynb", "audit.html", "suspects.csv"} <= {path.name for path in (tmp_path/"audited").iterdir()}

def test_an_audit_by_a_backbone(tmp_path):
    "Weights from a file; what was computed stays"
    torch = pytest.importorskip("torch")
    write(tmp_path/"own", 60)
    torch.save(create_network("cnn", 10).state_dict(), tmp_path/"cnn.pt")
    settings = dict(model="cnn", weights=tmp_path/"cnn.pt", image_size=16, folds=3, device="cpu")
    first = audit(tmp_path/"own", tmp_path/"run", **settings)
    [folder] = (tmp_path/"run/features").iterdir() # its name has a digest of the weights
    kept = sorted(folder.iterdir())
    assert folder.name.startswith("cnn-cnn-") and folder.name.endswith("-16")
    shutil.move(tmp_path/"own"/first.path[0], tmp_path/"own"/first.suggested[0]/"again.png")
    with refused(text="audit of other images", kinds=Refused): audit(tmp_path/"own", tmp_path/"run", **settings)
    assert [path.name for path in kept] == ["00000.npz"]

@pytest.mark.parametrize("model, weights", UNTRAINABLE)
def test_networks_that_finetune_cannot_train(model, weights):
    with refused(text="say judge features for it", kinds=ValueError): check_finetune(model, weights)

@pytest.mark.parametrize("judge", ["features", "finetune"])
def test_weights_that_cannot_be_downloaded_are_replaced(judge, tmp_path, monkeypatch, capsys):
    "It is said before the work, and on the page"
    def offline(*args, **kw): raise OSError("no network")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path/"none"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    write(tmp_path/"own", 40)
    audit(tmp_path/"own", tmp_path/"run", judge=judge, model="resnet18", image_size=32, folds=2, device="cpu")
    about, said = json.loads((tmp_path/"run/audit.json").read_text()), "So efficientnet_lite0, which came with the kit"
    assert about["judge"] == "features" and said in about["what"] and said in capsys.readouterr().out
    assert [path.name for path in (tmp_path/"run/features").iterdir()] == ["efficientnet_lite0-32"]
    with refused(text="are not a file", kinds=Refused):
        audit(tmp_path/"own", tmp_path/"run", model="resnet18", weights="none.pt")

@pytest.mark.parametrize("column", ["path", "text"])
def test_what_annotators_agree_on_is_beside_the_rank(column, tmp_path):
    write(tmp_path/"own", 40)
    images = list_images(tmp_path/"own")
    people = {f"label_{k}": images.label for k in (1, 2, 3)}
    rows = pd.DataFrame({column: images.path} | people)
    if column == "text": rows.text = [f"number {i} of them all" for i in range(40)]
    rows.loc[3, "label_3"] = "another"
    rows.to_csv(tmp_path/"people.csv", index=False)
    np.save(tmp_path/"mine.npy", DIGITS.data[images.name.str.extract(r"(\d{4})\.")[0].astype(int)])
    audit(tmp_path/"people.csv", tmp_path/"run", features_file=tmp_path/"mine.npy", folds=2)
    table = pd.read_csv(tmp_path/"run/suspects.csv")
    three = table.path == ("line 5" if column == "text" else os.path.relpath(images.path[3], tmp_path/"run-data"))
    assert table.agreement[three].tolist() == [.6667] and (table.agreement[~three] == 1).all()
    assert "given by 67\xa0% of the annotators" in (tmp_path/"run/audit.html").read_text()

def test_a_backbone_brings_the_mean_that_it_was_trained_with():
    ends = torch.tensor([0., 1.]).view(2, 1, 1, 1).expand(2, 3, 1, 1)
    assert Normalised(torch.nn.Identity(), (.5,)*3, (.25,)*3)(ends)[:, 0, 0, 0].tolist() == [-2, 2]

def test_lite0_sees_pixels_from_minus_one_to_one():
    "Whether it gives features or is trained"
    seen, ends = [], torch.tensor([0., 1.]).view(2, 1, 1, 1).expand(2, 3, 8, 8)
    net = create_backbone()
    net.net.body.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.inference_mode(): net(ends)
    assert torch.allclose(seen[0], 2*ends - 1, atol=1e-5)

def test_other_weights_have_other_features(tmp_path):
    "Also under the same name of the file"
    names = set()
    for seed in 0, 1:
        torch.manual_seed(seed)
        (tmp_path/str(seed)).mkdir()
        torch.save(create_network("cnn", 10).state_dict(), tmp_path/str(seed)/"best.pt")
        names.add(who_can_judge("features", "cnn", tmp_path/str(seed)/"best.pt")[1])
    assert len(names) == 2
    assert who_can_judge("features", None, "IMAGENET1K_V1")[1] == who_can_judge("features", None, None)[1]

def test_finetune_as_it_comes(tmp_path):
    "Lite0 with its own weights, features and networks"
    write(tmp_path/"own", 24)
    audit(tmp_path/"own", tmp_path/"run", judge="finetune", image_size=32, epochs=1, folds=2, device="cpu")
    about = json.loads((tmp_path/"run/audit.json").read_text())
    assert about["training"]["model"] == "efficientnet_lite0" and about["training"]["weights"] == "IMAGENET1K_V1"
    assert "features of efficientnet_lite0" in about["what"] and "The two opinions were pooled" in about["what"]

def test_synced_batch_norm_leaves_relu_alone():
    net, x = create_network("efficientnet_lite0", 4, 3, "IMAGENET1K_V1").eval(), torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        before = net(x)
        assert torch.equal(set_batch_norm(net, "synced")(x), before)
