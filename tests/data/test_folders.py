"""Folders as they are in the wild: each file is used or named, and imagefolder, audit and texts decide alike."""
import json
import os
import warnings

import numpy as np
import pandas as pd
import pytest

import wild
from conftest import CHROMIUM
from noisykit.assemble import load_data
from noisykit.audit.audit import audit
from noisykit.audit.look import list_images, look_for_images
from noisykit.data.noise import save_noise
from noisykit.data.scan import find_parts, image_endings, natural, scan_classes, scan_parts
from noisykit.data.source import load_dataset
from noisykit.errors import sentence
from noisykit.resolve import resolve
from noisykit.run import run_method
from refusals import refused
from shared import one_thread

ROWS = wild.TABLE["Folders"]

def pictures_below(folder):
    "Files that Pillow reads by their names, hidden ones left out; links are not entered"
    found = []
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith((".", "__"))]
        found += [os.path.join(place, name) for name in files if name.lower().endswith(image_endings())]
    return {path for path in found if not os.path.basename(path).startswith(".")}

def used(found):
    "Paths of all files that count"
    parts = [found.files, *found.tests.values()]
    return [path for files in parts for paths in files.values() for path in paths]

@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.what)
def test_rows_of_the_page(tmp_path, row):
    "What is said, and that each picture is used or named, once"
    wild.make(tmp_path/"own", row)
    if row.refused:
        assert row.says in sentence(scan_parts, tmp_path/"own", image_endings())
        return
    found = scan_parts(tmp_path/"own", image_endings())
    assert row.says in found.report()
    named = {os.path.join(tmp_path/"own", name) for name, _ in found.left_out}
    kit = {path for path in pictures_below(tmp_path/"own") if "/run/" in path} # named by their folder
    assert len(set(used(found))) == len(used(found))
    assert set(used(found)) | named >= pictures_below(tmp_path/"own") - kit
    assert not set(used(found)) & named

@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.what)
def test_audit_and_imagefolder_decide_alike(tmp_path, row):
    own = tmp_path/"own"
    wild.make(own, row)
    if find_parts(own):
        said = sentence(list_images, own)
        assert "which are no classes but parts of a data set; audit one of them, such as" in said
        assert next(iter(sum(find_parts(own).values(), []))).name in said
    elif row.refused:
        assert row.says in sentence(list_images, own)
        assert row.says in sentence(load_dataset, "imagefolder", own)
    else:
        images, report = look_for_images(own)
        assert report == scan_parts(own, image_endings()).report()
        assert set(images.path) == set(used(scan_parts(own, image_endings())))

def test_the_page_shows_the_table():
    "`python tests/support/wild.py` writes it"
    sections = wild.sections_of(json.loads(wild.PAGE.read_text()))
    for section, rows in wild.TABLE.items(): assert sections[section][1].strip() == wild.as_markdown(rows), section

def test_natural_order():
    names = ["10", "2", "a10", "a2", "1.5", "-3", "B", "nan", "x" + "9"*5000, ""]
    assert sorted(names, key=natural) == ["-3", "1.5", "2", "10", "", "B", "a2", "a10", "nan", "x" + "9"*5000]

def test_texts_are_looked_at_in_the_same_way(tmp_path):
    for path in ("10/a.txt", "2/b.txt", "2/._b.txt", "2/b.pdf", "10/c.txt", "2/d.txt", "__MACOSX/x.txt"):
        (tmp_path/"own"/path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path/"own"/path).write_text(f"words of {path}")
    source = load_dataset("text", tmp_path/"own")
    assert source.classes == ["2", "10"]
    assert "4 .txt files in 2 classes: 2 2, 10 2" in source.found
    assert "left out, .pdf (a kind of file that is not read): 1 (2/b.pdf)" in source.found

def test_a_pipe_is_not_waited_for(tmp_path):
    wild.make(tmp_path, wild.Row("", "", paths=()))
    os.mkfifo(tmp_path/"a/pipe.png")
    assert ("a/pipe.png", "neither a file nor a folder") in scan_classes(tmp_path, image_endings()).left_out

def test_validation_is_one_more_test_set(tmp_path):
    classes = [f"{part}/{label}" for part in ("training", "Test", "valid") for label in "ab"]
    wild.add(tmp_path, [f"{folder}/{k}.png" for folder in classes for k in range(3)])
    source = load_dataset("imagefolder", tmp_path, image_size=16, workers=0)
    assert (len(source.train), len(source.test), len(source.tests["val"][0])) == (6, 6, 6)
    assert all("/Test/" in path for path in source.test.paths)
    assert all("/valid/" in path for path in source.tests["val"][0].paths)

def test_two_spellings_of_one_part(tmp_path):
    wild.add(tmp_path, [f"{part}/{label}/1.png" for part in ("train", "val", "valid") for label in "ab"])
    with refused("holds val and valid, which are the same part"): scan_parts(tmp_path, image_endings())

def test_home_folder(tmp_path, monkeypatch):
    "~ in settings of a run, of an audit, and where a run is read"
    monkeypatch.setenv("HOME", str(tmp_path))
    wild.add(tmp_path/"own", [f"{label}/{k}.png" for label in "ab" for k in range(6)])
    settings = dict(method="ce", dataset="imagefolder", data_dir="~/own", model="cnn", epochs=1, batch_size=8,
                    probe_size=0, noise="none", device="cpu", run_dir="~/run",
                    data_options=dict(image_size=16, workers=0))
    with one_thread():
        run = run_method(quiet=True, **settings)
        audit("~/own", "~/audit", weights="random", device="cpu", folds=2, epochs=1)
    assert run.config["data_dir"] == str(tmp_path/"own")
    assert (tmp_path/"run/labels.csv").is_file() and (tmp_path/"audit/audit.html").is_file()
    assert run.data["found"].startswith(f"what I found in {tmp_path/'own'}\n  12 images in 2 classes: a 6, b 6")

def test_the_block_is_printed_once(tmp_path, capsys):
    wild.add(tmp_path/"own", [f"{label}/{k}.png" for label in "ab" for k in range(6)] + ["a/x.heic"])
    settings = dict(method="ce", dataset="imagefolder", data_dir=tmp_path/"own", model="cnn", epochs=1, batch_size=8,
                    probe_size=0, noise="none", device="cpu", run_dir=tmp_path/"run",
                    data_options=dict(image_size=16, workers=0))
    with one_thread(): run_method(**settings)
    said = capsys.readouterr().out
    assert said.count("what I found in") == 1
    assert "left out, .heic (a kind of file that is not read): 1 (a/x.heic)" in said

# ---- the practitioner's folder

@pytest.fixture(scope="module")
def own(tmp_path_factory):
    "(folder, number of pictures that should count)"
    folder = tmp_path_factory.mktemp("wild")/"Meine Bilder"
    return folder, wild.practitioner(folder)

def test_images_in_are_images_used_and_named(own):
    folder, expected = own
    found = scan_parts(folder, image_endings())
    assert found.classes == ["Bag", "Blaue Tüten", "Taschen", "bag", "selten", "りんご"]
    assert len(used(found)) == expected
    named = [name for name, why in found.left_out if name.lower().endswith(image_endings())]
    assert named == ["lose.jpg", "selten/weg.png"]
    assert len(pictures_below(folder)) == expected + 2
    with refused("images are unreadable"): load_dataset("imagefolder", folder, image_size=16)
    source = load_dataset("imagefolder", folder, image_size=16, workers=0, skip_unreadable=True)
    assert len(source.train) + len(source.test) + len(source.skipped) == expected
    for noted in ("brightness guessed: 1 (Blaue Tüten/dim.tif). The file does not say which value is white",
                  "several pictures: 1 (Blaue Tüten/moving.webp)", "all transparent: 1 (Blaue Tüten/nothing.png)"):
        assert noted in source.found
    assert len(list_images(folder)) == expected

def test_the_audit_of_it(own, tmp_path, capsys):
    folder, expected = own
    with one_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ranking = audit(folder, tmp_path/"audit", weights="random", device="cpu", folds=2, epochs=1)
    assert len(ranking) == expected - 2
    report = scan_parts(folder, image_endings()).report()
    assert report in capsys.readouterr().out
    assert json.loads((tmp_path/"audit/audit.json").read_text())["found"] == report
    if CHROMIUM: check_page(tmp_path/"audit/audit.html", report)

def check_page(path, report):
    "The page in a browser: it shows the block, and all its pictures"
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport=dict(width=1200, height=900))
        page.goto(path.as_uri())
        lines = page.locator("ul.found li").all_inner_texts()
        def words(lines): return [line.split() for line in lines]
        assert words(lines) == words(report.splitlines()[1:])
        assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
        if folder := os.environ.get("STILLS"): page.screenshot(path=f"{folder}/wild.png", full_page=True)
        browser.close()

# ---- numbers that are names

@pytest.mark.parametrize("file", ("labels.npy", "labels.csv"))
def test_labels_that_may_be_names_or_places(tmp_path, file):
    "Folders 1, 2, 3: label 1 is the folder 1, or the second one"
    wild.add(tmp_path/"own", [f"{label}/{k}.png" for label in "123" for k in range(6)])
    labels = np.array([1, 2]*9)
    if file.endswith("npy"): np.save(tmp_path/file, labels)
    else: pd.DataFrame(dict(label_noisy=labels)).to_csv(tmp_path/file, index=False)
    with refused("number 1 may be the class called 1, which is in place 0, or the class in place 1, which is called 2"):
        resolve_and_load(tmp_path, noise_file=tmp_path/file)
    np.save(tmp_path/"places.npy", np.array([0, 1, 2]*6))
    assert resolve_and_load(tmp_path, noise_file=tmp_path/"places.npy").noise.given.max() == 2

def test_a_map_that_may_mean_names_or_places(tmp_path):
    wild.add(tmp_path/"own", [f"{label}/{k}.png" for label in "123" for k in range(6)])
    with refused("noise option map .* number 1 may be the class called 1"):
        resolve_and_load(tmp_path, noise="asymmetric", noise_options=dict(map={"1": 2}))
    data = resolve_and_load(tmp_path, noise="asymmetric", noise_options=dict(map={0: 1}), noise_rate=.5)
    assert data.noise.matrix[0].tolist() == [.5, .5, 0]

def test_a_file_of_the_kit_says_what_its_numbers_mean(tmp_path):
    wild.add(tmp_path/"own", [f"{label}/{k}.png" for label in "123" for k in range(6)])
    data = resolve_and_load(tmp_path, noise="symmetric", noise_rate=.5)
    save_noise(data.noise, tmp_path/"noise.csv")
    again = resolve_and_load(tmp_path, noise_file=tmp_path/"noise.csv")
    assert again.noise.given.tolist() == data.noise.given.tolist()

def resolve_and_load(folder, **settings):
    "The data of a run on folder/own, all of it for training"
    config, _ = resolve(method="ce", dataset="imagefolder", data_dir=folder/"own", model="cnn", probe_size=0,
                        device="cpu", data_options=dict(image_size=16, workers=0, hold_out=False), **settings)
    return load_data(config)

def test_a_csv_has_natural_order_too(tmp_path):
    wild.add(tmp_path, [f"{label}/{k}.png" for label in ("2", "10", "9") for k in range(3)])
    rows = [(f"{label}/{k}.png", label) for label in ("10", "9", "2") for k in range(3)]
    pd.DataFrame(rows, columns=["path", "label"]).to_csv(tmp_path/"list.csv", index=False)
    source = load_dataset("imagelist", tmp_path/"list.csv", image_size=16, hold_out=False)
    assert source.classes == ["2", "9", "10"]
    assert source.labels.tolist() == [2]*3 + [1]*3 + [0]*3
