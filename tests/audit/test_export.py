"""The result of an audit in the formats of other programs: each is read by that program's library where it is
installed, and by its rules everywhere."""
import contextlib
import json
import shutil
from urllib.parse import unquote
from xml.etree import ElementTree

import pandas as pd
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from conftest import tree
from noisykit.audit.audit import audit
from noisykit.audit.export import EXPORTS, audited_labels, cleanlab_issues, export_audit
from refusals import refused
from shared import one_thread

DIGITS = load_digits()

def write(root, names):
    "Pictures of zeros and ones; every tenth is in the folder of the other class"
    chosen = [i for i in range(len(DIGITS.target)) if DIGITS.target[i] < 2][:40]
    for k, i in enumerate(chosen):
        path = root/names[(DIGITS.target[i] + (k % 10 == 0)) % 2]/f"{k:02}, a & 'b' é.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((15*DIGITS.images[i]).astype("uint8")).save(path)

@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    "(the pictures, the folder of the audit)"
    folder = tmp_path_factory.mktemp("export")
    write(folder/"mine", ('zero "0"', "one & <1>"))
    with one_thread(), contextlib.redirect_stdout(None):
        audit(folder/"mine", folder/"run", weights="random", device="cpu", folds=2, epochs=2)
    before = tree(folder/"mine")
    files = export_audit(folder/"run", list(EXPORTS))
    assert tree(folder/"mine") == before
    assert [str(file.relative_to(folder/"run/export")) for file in files] == [
        "label_studio.json", "label_studio.xml", "fiftyone/given.json", "fiftyone/suggested.json", "metadata.csv",
        "cleanlab.csv"]
    return folder/"mine", folder/"run"

def test_label_studio(exported):
    mine, run = exported
    tasks = json.loads((run/"export/label_studio.json").read_text())
    suspects = pd.read_csv(run/"suspects.csv").set_index("path")
    assert len(tasks) == len(suspects) == 40
    interface = ElementTree.parse(run/"export/label_studio.xml").getroot()
    choices = interface.find("Choices")
    known = {choice.get("value") for choice in choices}
    assert known == set(suspects.label)
    assert choices.get("toName") == interface.find("Image").get("name")
    for task in tasks:
        data, (prediction,) = task["data"], task["predictions"]
        assert (mine/unquote(data["image"].partition("?d=")[2])).is_file()
        (choice,) = prediction["result"]
        assert (choice["from_name"], choice["to_name"]) == (choices.get("name"), choices.get("toName"))
        assert choice["value"]["choices"] == [suspects.suggested[data["name"]]]
        assert data["given"] == suspects.label[data["name"]]
        assert prediction["score"] == suspects.score[data["name"]]

def test_label_studio_by_its_library(exported):
    "The library checks tasks and predictions against the labeling interface"
    interfaces = pytest.importorskip("label_studio_sdk.label_interface")
    export = exported[1]/"export"
    interface = interfaces.LabelInterface((export/"label_studio.xml").read_text())
    interface.validate()
    for task in json.loads((export/"label_studio.json").read_text()):
        assert interface.validate_task(dict(data=task["data"])) # with predictions it fails in itself
        for prediction in task["predictions"]: assert interface.validate_prediction(prediction)

def test_fiftyone(exported):
    mine, run = exported
    suspects = pd.read_csv(run/"suspects.csv").set_index("path")
    for file, column, prob in (("given", "label", "given_prob"), ("suggested", "suggested", "suggested_prob")):
        content = json.loads((run/f"export/fiftyone/{file}.json").read_text())
        assert len(content["labels"]) == 40
        for name, label in content["labels"].items():
            assert (mine/f"{name}.png").is_file()
            assert content["classes"][label["label"]] == suspects[column][f"{name}.png"]
            assert label["confidence"] == suspects[prob][f"{name}.png"]

def test_fiftyone_by_its_library(exported):
    importers = pytest.importorskip("fiftyone.utils.data.importers")
    mine, run = exported
    with importers.FiftyOneImageClassificationDatasetImporter(
            data_path=str(mine), labels_path=str(run/"export/fiftyone/given.json")) as importer:
        for path, _, label in importer:
            assert label.label in path
            assert 0 <= label.confidence <= 1

def test_datasets_by_its_library(exported, tmp_path):
    "Beside the pictures, metadata.csv gives them its columns"
    pytest.importorskip("datasets.arrow_dataset") # tests/datasets is called like the library
    import datasets
    mine, run = exported
    shutil.copytree(mine, tmp_path/"copy")
    shutil.copy(run/"export/metadata.csv", tmp_path/"copy")
    data = datasets.load_dataset("imagefolder", data_dir=str(tmp_path/"copy"), cache_dir=str(tmp_path/"cache"))["train"]
    suspects = pd.read_csv(run/"suspects.csv")
    assert sorted(zip(data["label"], data["suggested"])) == sorted(zip(suspects.label, suspects.suggested))
    assert data[0]["image"].size == (8, 8)

def test_cleanlab(exported):
    "cleanlab trains without the labels that the audit doubts"
    cleanlab = pytest.importorskip("cleanlab.classification")
    mine, run = exported
    rows = audited_labels(run)
    assert rows.path.tolist() == sorted(rows.path, key=lambda name: (name[0] != "o", name))
    issues = cleanlab_issues(rows)
    codes = {name: code for code, name in enumerate(sorted(set(rows.label)))}
    issues = issues.assign(given_label=issues.given_label.map(codes), predicted_label=issues.predicted_label.map(codes))
    issues["is_label_issue"] = [k < 3 for k in range(len(issues))] # two epochs doubt nothing
    pixels = [list(Image.open(mine/name).resize((4, 4)).tobytes()) for name in issues.name]
    learner = cleanlab.CleanLearning(LogisticRegression(max_iter=500), cv_n_folds=2)
    learner.fit(pd.DataFrame(pixels).to_numpy(), issues.given_label.to_numpy(), label_issues=issues)
    assert learner.get_label_issues().is_label_issue.sum() == 3
    written = pd.read_csv(run/"export/cleanlab.csv", index_col="index")
    assert written.given_label.tolist() == rows.label.tolist()

def test_what_cannot_be_exported(exported, tmp_path):
    mine, run = exported
    with refused("unknown export 'fiftyon'; did you mean 'fiftyone'"):
        export_audit(run, ["cleanlab", "fiftyon"], tmp_path)
    with refused("is no audit"): export_audit(mine, "cleanlab")
    assert not any(tmp_path.iterdir())
