"""Somebody's own images: what is in the folder is found, named and left alone; the labels that were moved come first."""
import json, os, shutil, subprocess
from io import BytesIO
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import CHROMIUM, ENV, ROOT, command, papermill, tree
from held import Place, kernels, kill, until
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import cross_val_predict
from sklearn.neighbors import KNeighborsClassifier

from noisykit.audit.audit import audit
from noisykit.audit.judge import confident_class, estimate_noise_rate
from noisykit.audit.look import list_images
from noisykit.errors import sentence
from noisykit.data.source import load_dataset
from noisykit.audit.review import review_items

@pytest.fixture(autouse=True)
def one_thread():
    "As papermill's processes: other sums would be other last digits"
    n = torch.get_num_threads(); torch.set_num_threads(1); yield; torch.set_num_threads(n)

QUICK = dict(weights="random", device="cpu", folds=3, epochs=20)
ODD = 'a<b> & "c" 100% #1?.jpg', "ünï cödé.jpg", "comma, quote'.jpg"

def picture(i):
    "One of scikit-learn's digits, 16x16 in colour"
    grey = Image.fromarray((load.images[i]*255/16).astype(np.uint8)).resize((16, 16), Image.Resampling.BICUBIC)
    return Image.merge("RGB", [grey, grey.point(lambda v: 255 - v//2), grey.point(lambda v: 60 + v//3)])

load = load_digits()

def write(root, n, moved=(), seed=0):
    "n digits as JPEGs, a folder a class; those in `moved` are in another one's. name -> true class"
    rng, true = np.random.default_rng(seed), {}
    for i in range(n):
        c = load.target[i]
        path = root/f"digit {(c + rng.integers(1, 10)) % 10 if i in moved else c}"/f"{i:04}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(i).save(path, quality=92)
        true[str(path.relative_to(root))] = f"digit {c}"
    return true

@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    "One folder with 5 % moved labels and every problem, audited by papermill: (process, folder, run folder, truth, what it held before)"
    d = tmp_path_factory.mktemp("audit")
    own = d/"my images"
    true = write(own, 500, set(range(7, 500, 20)))
    (own/"digit 0/cut.jpg").write_bytes((own/"digit 0/0000.jpg").read_bytes()[:300])
    (own/"digit 0/empty.png").write_bytes(b"")
    (own/"digit 0/text.png").write_text("no image at all")
    shutil.copy(own/"digit 1/0001.jpg", own/"digit 1/same.jpg")
    shutil.copy(own/"digit 2/0002.jpg", own/"digit 3/elsewhere.jpg")
    Image.open(own/"digit 4/0004.jpg").resize((32, 32)).save(own/"digit 4/larger.png")
    Image.open(own/"digit 5/0005.jpg").convert("L").save(own/"digit 5/grey.png")
    picture(1700).resize((5, 5)).save(own/"digit 6/tiny.png")
    Image.fromarray(np.hstack([np.array(picture(i)) for i in range(1701, 1706)])).save(own/"digit 6/long.png")
    for k, name in enumerate(ODD): picture(1710 + k).save(own/f"digit {load.target[1710 + k]}"/name)
    (own/"digit 7/notes.txt").write_text("mine"); (own/"digit 7/.hidden.jpg").write_bytes(b"x"); (own/".thumbnails").mkdir(); (own/"no images here").mkdir()
    before = tree(own)
    return papermill("audit", d/"out.ipynb", cold=True, data_dir=own, run_dir=d/"run", **QUICK), own, d/"run", true, before

def test_moved_labels_come_first(audited):
    done, own, run, true, before = audited
    assert done.returncode == 0, done.stderr[-3000:]
    assert tree(own) == before
    table = pd.read_csv(run/"suspects.csv")
    assert list(table) == ["rank", "path", "label", "suggested", "score", "given_prob", "suggested_prob", "doubted", "problems"]
    assert table["rank"].tolist() == list(range(1, len(table) + 1)) and table.score.is_monotonic_decreasing and table.path.is_unique
    assert (table.label == table.path.str.split("/").str[0]).all() and (table.suggested != table.label).all() and len(table) == len(list_images(own)) - 3
    known = table[table.path.isin(true)]
    moved = known.path.map(true) != known.label
    assert moved.sum() == 25 and moved[:25].sum() >= 16
    found = known[moved].head(15)
    assert (found.path.map(true) == found.suggested).sum() >= 10
    about = json.loads((run/"audit.json").read_text())["noise_rate"]
    assert 0 < about["low"] <= about["estimate"] <= about["high"] < 1 and len(about["folds"]) == 3

def test_problems(audited):
    _, own, run, _, _ = audited
    table = pd.read_csv(run/"problems.csv", keep_default_na=False)
    named = table.groupby("problem")["name"].agg(lambda n: {Path(p).name for p in n}).to_dict()
    assert named["broken"] == {"cut.jpg", "empty.png", "text.png"} and named["copy, other label"] == {"0002.jpg", "elsewhere.jpg"}
    assert named["copy"] == {"0001.jpg", "same.jpg"} and {"0004.jpg", "larger.png"} <= named["near copy"]
    assert named["greyscale"] == {"grey.png"} and named["tiny"] == {"tiny.png"} and named["elongated"] == {"long.png"} and "rare class" not in named
    assert table.set_index("name").loc["digit 3/elsewhere.jpg", ["other", "other_label"]].tolist() == ["digit 2/0002.jpg", "digit 2"]
    suspects = pd.read_csv(run/"suspects.csv", keep_default_na=False).set_index("path")
    assert suspects.problems["digit 3/elsewhere.jpg"] == "copy, other label" and suspects.score["digit 1/0001.jpg"] == suspects.score["digit 1/same.jpg"]
    assert {Path(p).name for p in suspects.index} >= set(ODD) and not suspects.index.str.contains("notes|hidden|cut|empty").any()

@pytest.mark.skipif(CHROMIUM is None, reason="no browser here")
def test_page(audited, tmp_path):
    api = pytest.importorskip("playwright.sync_api")
    _, own, run, _, _ = audited
    shutil.copy(run/"audit.html", tmp_path/"page.html") # alone in a folder
    with api.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport=dict(width=1200, height=900))
        said, asked = [], []
        page.on("console", lambda m: said.append(m.text)); page.on("pageerror", lambda e: said.append(str(e)))
        page.on("request", lambda r: asked.append(r.url))
        page.goto((tmp_path/"page.html").as_uri())
        assert page.title() == "Label audit: my images" and said == []
        assert [u for u in asked if not u.startswith("data:")] == [(tmp_path/"page.html").as_uri()]
        assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
        cards = page.locator("#suspects .card")
        assert cards.count() == 60
        first = pd.read_csv(run/"suspects.csv").iloc[0]
        assert all(w in cards.first.inner_text() for w in (first.label, first.suggested, first.path))
        page.locator("#pick").select_option(first.label)
        shown = [c.get_attribute("data-label") for c in cards.all() if c.is_visible()]
        assert 0 < len(shown) < 60 and set(shown) == {first.label}
        text = page.locator("body").inner_text()
        for name in ("cut.jpg", "elsewhere.jpg", "larger.png", "grey.png", "tiny.png", "long.png"): assert name in text
        for href in page.eval_on_selector_all("#suspects a", "a => a.map(x => x.href)"): assert Path(unquote(href.removeprefix("file://"))).is_file()
        page.set_viewport_size(dict(width=400, height=800))
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        browser.close()

def test_names_cannot_break_the_page(tmp_path):
    "A class and files that are called like html"
    own = tmp_path/"<b>mine"
    for c, folder in enumerate(("<script>alert(1)<", "b&amp;'\"")):
        (own/folder).mkdir(parents=True)
        for k, i in enumerate(np.flatnonzero(load.target == c)[:8]): picture(i).save(own/folder/f"<img src=x onerror=alert({k})>.png")
    picture(0).save(io := BytesIO(), "PNG"); (own/"<script>alert(1)<"/os.fsdecode(b"\xff.png")).write_bytes(io.getvalue())   # a name that is no UTF-8
    audit(own, tmp_path/"run", epochs=1, folds=2, weights="random", device="cpu")
    assert "not valid UTF-8" in (tmp_path/"run/problems.csv").read_text()
    page = (tmp_path/"run/audit.html").read_text()
    assert page.count("<script>") == 1 and "<img src=x" not in page and "<b>mine" not in page and "&lt;script&gt;alert(1)&lt;" in page and "b&amp;amp;&#39;&#34;" in page

def test_a_folder_named_from_elsewhere(tmp_path, monkeypatch):
    "../own is the same folder, for the audit and for who decides about it later"
    write(tmp_path/"own", 80, {3, 50}); (tmp_path/"here").mkdir(); monkeypatch.chdir(tmp_path/"here")
    audit("../own", "run", epochs=1, folds=2, weights="random", device="cpu")
    assert pd.read_csv("run/suspects.csv").path.str.startswith("digit ").all()
    monkeypatch.chdir(tmp_path)
    assert len(review_items("here/run").table) == 80

def test_list(tmp_path):
    "A csv with paths relative and absolute, labels of any kind, copies of one picture"
    write(tmp_path/"all", 60)
    rows = [(p if k % 2 else p.relative_to(tmp_path), f"é, {p.parent.name}") for k, p in enumerate(sorted((tmp_path/"all").rglob("*.jpg")))]
    pd.DataFrame(rows, columns=["path", "label"]).assign(note="kept").to_csv(tmp_path/"list.csv", index=False)
    before = tree(tmp_path)
    audit(tmp_path/"list.csv", tmp_path/"run", epochs=2, folds=2, weights="random", device="cpu")
    table = pd.read_csv(tmp_path/"run/suspects.csv")
    assert len(table) == 60 and table.label.str.startswith("é, digit").all() and table.path[0].startswith("all/")
    assert {k: v for k, v in tree(tmp_path).items() if not k.startswith("run")} == before

def test_imagelist(tmp_path):
    write(tmp_path/"all", 40)
    files = sorted((tmp_path/"all").rglob("*.jpg"))
    pd.DataFrame(dict(path=files, label=["odd" if int(p.parent.name[-1]) % 2 else "even" for p in files])).to_csv(tmp_path/"list.csv", index=False)
    source = load_dataset("imagelist", tmp_path/"list.csv", image_size=16, hold_out=False)
    assert source.classes == ["even", "odd"] and [tmp_path/f for f in source.files] == files and len(source.test) == 0
    files[3].write_bytes(b"x")
    assert "1 of 40 images are unreadable" in sentence(load_dataset, "imagelist", tmp_path/"list.csv")

REFUSED = {
    "nothing": (dict(data_dir="{d}/nowhere"), "does not exist"),
    "none": ({}, "data_dir must be a folder"),
    "one class": (dict(data_dir="{d}/one"), "has 1 sub-folders with images"),
    "a split": (dict(data_dir="{d}/split"), "which are no classes"),
    "few": (dict(data_dir="{d}/few"), "an audit with 5 folds needs 20"),
    "inside": (dict(data_dir="{d}/few", run_dir="{d}/few/run"), "is inside data_dir"),
    "columns": (dict(data_dir="{d}/columns.csv"), "must have the columns path, label; it has file, label"),
    "gone": (dict(data_dir="{d}/gone.csv"), "1 of the 1 images in"),
    "twice": (dict(data_dir="{d}/twice.csv"), "names 1 images twice"),
    "same label": (dict(data_dir="{d}/same.csv"), "has one label, 'a'"),
    "no label": (dict(data_dir="{d}/empty.csv"), "have no label"),
    "folds": (dict(data_dir="{d}/few", folds=1), "folds must be a whole number of at least 2"),
    "model": (dict(data_dir="{d}/few", model="resnet31"), "unknown network 'resnet31'"),
    "nproc": (dict(data_dir="{d}/few", nproc=0), "nproc must be a number of at least 1"),
    "weights": (dict(data_dir="{d}/few", model="cnn", weights="{d}/no.pt"), "no.pt"),
    "size": (dict(data_dir="{d}/few", image_size=4), "image_size must be a whole number of at least 8"),
}

@pytest.mark.parametrize("name", REFUSED)
def test_refused(tmp_path, name):
    kw, said = REFUSED[name]
    for folder in ("one/a", "split/train", "split/test", "few/a", "few/b"):
        (tmp_path/folder).mkdir(parents=True); picture(len(folder)).save(tmp_path/folder/"0.png")
    for file, text in dict(columns="file,label\na,b\n", gone="path,label\nno.png,a\n", twice="path,label\nfew/a/0.png,a\n./few/a/0.png,b\n", same="path,label\nfew/a/0.png,a\nfew/b/0.png,a\n", empty="path,label\nfew/a/0.png,\n").items(): (tmp_path/f"{file}.csv").write_text(text)
    before = tree(tmp_path)
    kw = dict(data_dir=None, run_dir=str(tmp_path/"run"), device="cpu", weights="random") | {k: v.format(d=tmp_path) if isinstance(v, str) else v for k, v in kw.items()}
    with pytest.raises(Exception) as e: audit(**kw)
    assert type(e.value).__name__ == "Refused" and said in str(e.value) and "\n" not in str(e.value) and tree(tmp_path) == before

def test_papermill_refuses(tmp_path):
    done = papermill("audit", tmp_path/"out.ipynb", data_dir=tmp_path/"nowhere", run_dir=tmp_path/"run")
    assert done.returncode and "FileNotFoundError: data_dir" in done.stderr.strip().splitlines()[-1] and not (tmp_path/"run").exists()

def test_an_audit_of_other_images_is_left_alone(tmp_path):
    write(tmp_path/"own", 60)
    how = dict(data_dir=str(tmp_path/"own"), run_dir=str(tmp_path/"run"), epochs=1, folds=2, weights="random", device="cpu")
    audit(**how)
    before, (a, b) = tree(tmp_path/"run"), [sorted((tmp_path/"own").glob(f"digit {c}/*.jpg"))[0] for c in (1, 2)]
    first, second = a.read_bytes(), b.read_bytes()
    a.write_bytes(second); b.write_bytes(first)   # the same names and labels, other pixels
    for run_dir, said in ((how["run_dir"], "holds an audit of other images"), (how["data_dir"] + "/..", "holds files of something else")):
        with pytest.raises(Exception) as e: audit(**how | dict(run_dir=run_dir))
        assert type(e.value).__name__ == "Refused" and said in str(e.value) and tree(tmp_path/"run") == before

def test_killed_and_called_again(tmp_path):
    "The same command goes on, and ends where it would have ended"
    write(tmp_path/"own", 120)
    how = dict(data_dir=str(tmp_path/"own"), epochs=4, folds=2, weights="random", device="cpu")
    first = tmp_path/"run/folds/0"
    place = Place(str(first), "samples/0002.npz", when="after")
    env, silent = ENV | place.env | kernels(tmp_path/"ipython"), subprocess.DEVNULL
    process = subprocess.Popen(command("audit", tmp_path/"out.ipynb", run_dir=tmp_path/"run", **how), cwd=ROOT, env=env,
                               stdin=silent, stdout=silent, stderr=silent)
    until(place.reached, process, "a second epoch")
    kill(process)
    assert not (tmp_path/"run/suspects.csv").exists()
    kept = (first/"samples/0001.npz").stat().st_mtime_ns
    audit(**how, run_dir=str(tmp_path/"run"))
    assert (first/"samples/0001.npz").stat().st_mtime_ns == kept
    again = audit(**how, run_dir=str(tmp_path/"other"))
    assert len(again) == 120
    assert pd.read_csv(tmp_path/"run/suspects.csv").equals(pd.read_csv(tmp_path/"other/suspects.csv"))

def test_noise_rate_of_known_noise():
    "Nearest neighbours, nearly always right on digits: the interval holds the share of labels that were moved"
    rng, true = np.random.default_rng(0), load.target
    for share in (0, .05, .2):
        given = np.where(rng.random(len(true)) < share, (true + rng.integers(1, 10, len(true))) % 10, true)
        probs = cross_val_predict(KNeighborsClassifier(15), load.data, given, cv=5, method="predict_proba")
        rate, low, high = estimate_noise_rate(given, confident_class(given, probs), 10)
        assert abs(rate - (given != true).mean()) < .015 and low - .002 <= (given != true).mean() <= high and .005 < high - low < .05
