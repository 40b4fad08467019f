"""Somebody's own images: what is in the folder is found, named and left alone; labels that were moved come first."""
import json
import os
import shutil
import subprocess
from io import BytesIO
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from conftest import CHROMIUM, ENV, ROOT, command, papermill, tree
from held import Place, kernels, kill, until
from noisykit.audit.audit import audit
from noisykit.audit.look import list_images
from noisykit.audit.review import review_items
from noisykit.data.source import load_dataset
from noisykit.detection.transition import class_thresholds, confident_class
from noisykit.errors import Refused, sentence
from notebooks import last_line
from refusals import refused
from shared import one_thread

@pytest.fixture(autouse=True)
def _one_thread():
    "As papermill's processes: other sums would be other last digits"
    with one_thread(): yield

DIGITS = load_digits()
QUICK = dict(weights="random", device="cpu", folds=3, epochs=20)
SHORT = dict(weights="random", device="cpu", folds=2, epochs=1)
ODD = 'a<b> & "c" 100% #1?.jpg', "ünï cödé.jpg", "comma, quote'.jpg"

def picture(i):
    "One of scikit-learn's digits, 16x16 in colour"
    grey = Image.fromarray((DIGITS.images[i]*255/16).astype(np.uint8)).resize((16, 16), Image.Resampling.BICUBIC)
    return Image.merge("RGB", [grey, grey.point(lambda v: 255 - v//2), grey.point(lambda v: 60 + v//3)])

def write(
    root,
    count, # of digits, as JPEGs in a folder a class
    moved=(), # numbers of those that are in the folder of another class
):
    "name -> true class"
    rng, true = np.random.default_rng(0), {}
    for i in range(count):
        label = DIGITS.target[i]
        other = (label + rng.integers(1, 10)) % 10 if i in moved else label
        path = root/f"digit {other}"/f"{i:04}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(i).save(path, quality=92)
        true[str(path.relative_to(root))] = f"digit {label}"
    return true

# ---- a whole audit

def add_problems(own):
    "One of everything that an audit names, and what it does not look at"
    (own/"digit 0/cut.jpg").write_bytes((own/"digit 0/0000.jpg").read_bytes()[:300])
    (own/"digit 0/empty.png").write_bytes(b"")
    (own/"digit 0/text.png").write_text("no image at all")
    shutil.copy(own/"digit 1/0001.jpg", own/"digit 1/same.jpg")
    shutil.copy(own/"digit 2/0002.jpg", own/"digit 3/elsewhere.jpg")
    Image.open(own/"digit 4/0004.jpg").resize((32, 32)).save(own/"digit 4/larger.png")
    Image.open(own/"digit 5/0005.jpg").convert("L").save(own/"digit 5/grey.png")
    picture(1700).resize((5, 5)).save(own/"digit 6/tiny.png")
    five = np.hstack([np.array(picture(i)) for i in range(1701, 1706)])
    Image.fromarray(five).save(own/"digit 6/long.png")
    for k, name in enumerate(ODD): picture(1710 + k).save(own/f"digit {DIGITS.target[1710 + k]}"/name)
    (own/"digit 7/notes.txt").write_text("mine")
    (own/"digit 7/.hidden.jpg").write_bytes(b"x")
    (own/".thumbnails").mkdir()
    (own/"no images here").mkdir()

@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    """One folder with 5 % moved labels and every problem, audited by papermill.

    (process, folder, run folder, true classes, what the folder held before)
    """
    folder = tmp_path_factory.mktemp("audit")
    own = folder/"my images"
    true = write(own, 500, set(range(7, 500, 20)))
    add_problems(own)
    before = tree(own)
    done = papermill("audit", folder/"out.ipynb", cold=True, data_dir=own, run_dir=folder/"run", **QUICK)
    return done, own, folder/"run", true, before

COLUMNS = ["rank", "path", "label", "suggested", "score", "given_prob", "suggested_prob", "doubted", "problems"]

def test_the_table_of_suspects(audited):
    done, own, run, _, before = audited
    assert done.returncode == 0, done.stderr[-3000:]
    assert tree(own) == before
    table = pd.read_csv(run/"suspects.csv")
    assert list(table) == COLUMNS
    assert table["rank"].tolist() == list(range(1, len(table) + 1))
    assert table.score.is_monotonic_decreasing
    assert table.path.is_unique
    assert (table.label == table.path.str.split("/").str[0]).all()
    assert (table.suggested != table.label).all()
    assert len(table) == len(list_images(own)) - 3

def test_moved_labels_come_first(audited):
    _, _, run, true, _ = audited
    table = pd.read_csv(run/"suspects.csv")
    known = table[table.path.isin(true)]
    moved = known.path.map(true) != known.label
    assert moved.sum() == 25
    assert moved[:25].sum() >= 16
    found = known[moved].head(15)
    assert (found.path.map(true) == found.suggested).sum() >= 10

def test_no_number_without_ground(audited):
    "Neither the page nor audit.json nor the console says how many labels are wrong: nobody has looked"
    done, _, run, _, _ = audited
    about = json.loads((run/"audit.json").read_text())
    assert "noise_rate" not in about
    assert sum(row["agreed"] for row in about["per_class"]) == round(about["agreement"]*about["judged"])
    page = (run/"audit.html").read_text()
    assert "The judge cannot tell" in page
    for text in (page, done.stdout): assert "may be wrong" not in text

def test_problems(audited):
    run = audited[2]
    table = pd.read_csv(run/"problems.csv", keep_default_na=False)
    def names(problem): return {Path(path).name for path in table["name"][table.problem == problem]}
    assert names("broken") == {"cut.jpg", "empty.png", "text.png"}
    assert names("copy, other label") == {"0002.jpg", "elsewhere.jpg"}
    assert names("copy") == {"0001.jpg", "same.jpg"}
    assert {"0004.jpg", "larger.png"} <= names("near copy")
    assert names("greyscale") == {"grey.png"}
    assert names("tiny") == {"tiny.png"}
    assert names("elongated") == {"long.png"}
    assert names("rare class") == set()
    copy = table.set_index("name").loc["digit 3/elsewhere.jpg"]
    assert copy[["other", "other_label"]].tolist() == ["digit 2/0002.jpg", "digit 2"]

def test_problems_of_suspects(audited):
    suspects = pd.read_csv(audited[2]/"suspects.csv", keep_default_na=False).set_index("path")
    assert suspects.problems["digit 3/elsewhere.jpg"] == "copy, other label"
    assert suspects.score["digit 1/0001.jpg"] == suspects.score["digit 1/same.jpg"]
    assert {Path(path).name for path in suspects.index} >= set(ODD)
    assert not suspects.index.str.contains("notes|hidden|cut|empty").any()

# ---- its page

@pytest.fixture
def page(audited, tmp_path):
    "(the page in a browser, alone in a folder, what the console said, what was asked for)"
    api = pytest.importorskip("playwright.sync_api")
    shutil.copy(audited[2]/"audit.html", tmp_path/"page.html")
    with api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport=dict(width=1200, height=900))
        said, asked = [], []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto((tmp_path/"page.html").as_uri())
        yield page, said, asked
        browser.close()

@pytest.mark.skipif(CHROMIUM is None, reason="no browser here")
def test_page(audited, page):
    _, _, run, _, _ = audited
    page, said, asked = page
    assert page.title() == "Label audit: my images"
    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == [page.url]
    assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
    cards = page.locator("#suspects .card")
    assert cards.count() == 60
    first = pd.read_csv(run/"suspects.csv").iloc[0]
    for word in (first.label, first.suggested, first.path): assert word in cards.first.inner_text()
    page.locator("#pick").select_option(first.label)
    shown = [card.get_attribute("data-label") for card in cards.all() if card.is_visible()]
    assert 0 < len(shown) < 60
    assert set(shown) == {first.label}
    text = page.locator("body").inner_text()
    for name in ("cut.jpg", "elsewhere.jpg", "larger.png", "grey.png", "tiny.png", "long.png"): assert name in text
    for link in page.eval_on_selector_all("#suspects a", "a => a.map(x => x.href)"):
        assert Path(unquote(link.removeprefix("file://"))).is_file()
    page.set_viewport_size(dict(width=400, height=800))
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")

def test_names_cannot_break_the_page(tmp_path):
    "A class and files that are called like html, and a name that is no UTF-8"
    own = tmp_path/"<b>mine"
    for label, folder in enumerate(("<script>alert(1)<", "b&amp;'\"")):
        (own/folder).mkdir(parents=True)
        for k, i in enumerate(np.flatnonzero(DIGITS.target == label)[:8]):
            picture(i).save(own/folder/f"<img src=x onerror=alert({k})>.png")
    content = BytesIO()
    picture(0).save(content, "PNG")
    (own/"<script>alert(1)<"/os.fsdecode(b"\xff.png")).write_bytes(content.getvalue())
    audit(own, tmp_path/"run", **SHORT)
    page = (tmp_path/"run/audit.html").read_text()
    assert "not valid UTF-8: rename it: 1 (" in page
    assert page.count("<script>") == 1
    assert "<img src=x" not in page
    assert "<b>mine" not in page
    assert "&lt;script&gt;alert(1)&lt;" in page
    assert "b&amp;amp;&#39;&#34;" in page

# ---- folders and lists

def test_a_folder_named_from_elsewhere(tmp_path, monkeypatch):
    "../own is the same folder, for the audit and for who decides about it later"
    write(tmp_path/"own", 80, {3, 50})
    (tmp_path/"here").mkdir()
    monkeypatch.chdir(tmp_path/"here")
    audit("../own", "run", **SHORT)
    assert pd.read_csv("run/suspects.csv").path.str.startswith("digit ").all()
    monkeypatch.chdir(tmp_path)
    assert len(review_items("here/run").table) == 80

def test_a_list(tmp_path):
    "A csv with paths relative and absolute, labels of any kind, copies of one picture"
    write(tmp_path/"all", 60)
    paths = sorted((tmp_path/"all").rglob("*.jpg"))
    rows = [(path if k % 2 else path.relative_to(tmp_path), f"é, {path.parent.name}") for k, path in enumerate(paths)]
    pd.DataFrame(rows, columns=["path", "label"]).assign(note="kept").to_csv(tmp_path/"list.csv", index=False)
    before = tree(tmp_path)
    audit(tmp_path/"list.csv", tmp_path/"run", **SHORT | dict(epochs=2))
    table = pd.read_csv(tmp_path/"run/suspects.csv")
    assert len(table) == 60
    assert table.label.str.startswith("é, digit").all()
    assert table.path[0].startswith("all/")
    assert {path: content for path, content in tree(tmp_path).items() if not path.startswith("run")} == before

def test_a_list_as_a_data_set(tmp_path):
    write(tmp_path/"all", 40)
    files = sorted((tmp_path/"all").rglob("*.jpg"))
    labels = ["odd" if int(path.parent.name[-1]) % 2 else "even" for path in files]
    pd.DataFrame(dict(path=files, label=labels)).to_csv(tmp_path/"list.csv", index=False)
    data = load_dataset("imagelist", tmp_path/"list.csv", image_size=16, hold_out=False)
    assert data.classes == ["even", "odd"]
    assert [tmp_path/file for file in data.files] == files
    assert len(data.test) == 0
    files[3].write_bytes(b"x")
    assert "1 of 40 images are unreadable" in sentence(load_dataset, "imagelist", tmp_path/"list.csv")

# ---- what is refused

# name -> settings, with the test's folder as {d}; what is said
REFUSED = {
    "nothing": (dict(data_dir="{d}/nowhere"), "does not exist"),
    "none": ({}, "data_dir must be a folder"),
    "one class": (dict(data_dir="{d}/one"), "holds 1 class folders with images"),
    "a split": (dict(data_dir="{d}/split"), "which are no classes"),
    "few": (dict(data_dir="{d}/few"), "an audit with 5 folds needs 20"),
    "inside": (dict(data_dir="{d}/few", run_dir="{d}/few/run"), "is inside data_dir"),
    "columns": (dict(data_dir="{d}/columns.csv"), "settings of pictures"),
    "gone": (dict(data_dir="{d}/gone.csv"), "1 of the 1 images in"),
    "twice": (dict(data_dir="{d}/twice.csv"), "twice.csv name an image that was there before; the first is in line 3"),
    "same label": (dict(data_dir="{d}/same.csv"), "has one label, 'a'"),
    "no label": (dict(data_dir="{d}/empty.csv"), "have no label"),
    "folds": (dict(data_dir="{d}/few", folds=1), "folds must be a whole number of at least 2"),
    "model": (dict(data_dir="{d}/few", model="resnet31"), "unknown network 'resnet31'"),
    "nproc": (dict(data_dir="{d}/few", nproc=0), "nproc must be a number of at least 1"),
    "weights": (dict(data_dir="{d}/few", model="cnn", weights="{d}/no.pt"), "no.pt"),
    "size": (dict(data_dir="{d}/few", image_size=4), "image_size must be a whole number of at least 8"),
}
LISTS = dict(
    columns="file,label\na,b\n",
    gone="path,label\nno.png,a\n",
    twice="path,label\nfew/a/0.png,a\n./few/a/0.png,b\n",
    same="path,label\nfew/a/0.png,a\nfew/b/0.png,a\n",
    empty="path,label\nfew/a/0.png,\n",
)

@pytest.mark.parametrize("name", REFUSED)
def test_refusals(tmp_path, name):
    "Nothing is written"
    given, said = REFUSED[name]
    for folder in ("one/a", "split/train", "split/test", "few/a", "few/b"):
        (tmp_path/folder).mkdir(parents=True)
        picture(len(folder)).save(tmp_path/folder/"0.png")
    for file, text in LISTS.items(): (tmp_path/f"{file}.csv").write_text(text)
    before = tree(tmp_path)
    settings = dict(data_dir=None, run_dir="{d}/run", device="cpu", weights="random") | given
    placed = {name: value.format(d=tmp_path) if isinstance(value, str) else value for name, value in settings.items()}
    with refused(text=said, kinds=Refused): audit(**placed)
    assert tree(tmp_path) == before

def test_the_notebook_refuses(tmp_path):
    done = papermill("audit", tmp_path/"out.ipynb", data_dir=tmp_path/"nowhere", run_dir=tmp_path/"run")
    assert done.returncode
    assert "FileNotFoundError: data_dir" in last_line(done)
    assert not (tmp_path/"run").exists()

def test_an_audit_of_other_images_is_left_alone(tmp_path):
    "The same names and labels, other pixels; and a folder that holds something else"
    own = tmp_path/"own"
    write(own, 60)
    settings = dict(data_dir=str(own), **SHORT)
    audit(**settings, run_dir=str(tmp_path/"run"))
    before = tree(tmp_path/"run")
    one, two = (sorted(own.glob(f"digit {label}/*.jpg"))[0] for label in (1, 2))
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    for run_dir, said in ((str(tmp_path/"run"), "holds an audit of other images"),
                          (f"{own}/..", "holds files of something else")):
        with refused(text=said, kinds=Refused): audit(**settings, run_dir=run_dir)
        assert tree(tmp_path/"run") == before

# ---- an audit that was killed

def test_killed_and_called_again(tmp_path):
    "The same command goes on, and ends where it would have ended"
    write(tmp_path/"own", 120)
    settings = dict(data_dir=str(tmp_path/"own"), epochs=4, folds=2, weights="random", device="cpu")
    fold, silent = tmp_path/"run/folds/0", subprocess.DEVNULL
    place = Place(str(fold), "samples/0002.npz", when="after")
    words = command("audit", tmp_path/"out.ipynb", run_dir=tmp_path/"run", **settings)
    process = subprocess.Popen(words, cwd=ROOT, env=ENV | place.env | kernels(tmp_path/"ipython"), stdin=silent,
                               stdout=silent, stderr=silent)
    until(place.reached, process, "a second epoch")
    kill(process)
    assert not (tmp_path/"run/suspects.csv").exists()
    kept = (fold/"samples/0001.npz").stat().st_mtime_ns
    audit(**settings, run_dir=str(tmp_path/"run"))
    assert (fold/"samples/0001.npz").stat().st_mtime_ns == kept
    again = audit(**settings, run_dir=str(tmp_path/"other"))
    assert len(again) == 120
    assert pd.read_csv(tmp_path/"run/suspects.csv").equals(pd.read_csv(tmp_path/"other/suspects.csv"))

# ---- classes that the networks do not know

def constructed(third, sure):
    """200 images of two classes, all labelled right, and `third` of a class that the networks do not know, with a
    probability between .01 and .02; those of their own class between .6 and .99, or `sure`"""
    rng = np.random.default_rng(0)
    given = np.repeat([0, 1, 2], [100, 100, third])
    unknown = rng.uniform(.01, .02, len(given))
    unknown[given == 2] = .001
    own = np.full(len(given), .99) if sure else rng.uniform(.6, .98, len(given))
    probs = np.stack([own, 1 - own - unknown, unknown], 1).clip(0)
    probs[given == 1] = probs[given == 1][:, [1, 0, 2]]
    return given, probs/probs.sum(1, keepdims=True)

@pytest.mark.parametrize("third", [0, 1, 2, 9, 10, 40])
def test_a_class_that_the_networks_do_not_know_sets_no_threshold(third):
    "One image of a third class would have doubts raised about half of the others"
    given, probs = constructed(third, sure=False)
    confident = confident_class(given, probs)
    assert (confident[:200] != 2).all()
    assert np.isinf(class_thresholds(given, probs)).tolist() == [False, False, True]

def test_ten_images_that_the_networks_know_set_one():
    given, probs = constructed(10, sure=True)
    probs[200:] = [.3, .3, .4]
    assert class_thresholds(given, probs)[2] == pytest.approx(.4)
    assert class_thresholds(given[:209], probs[:209])[2] == np.inf
    assert (confident_class(given, probs)[200:] == 2).all()

def test_an_audit_of_few_images_a_class(tmp_path, capsys):
    "Six images a class: nothing is doubted, and it is said"
    write(tmp_path/"own", 60)
    table = audit(tmp_path/"own", tmp_path/"run", epochs=1, folds=2, weights="random", device="cpu")
    said = "No class sets a threshold (fewer than 10 images, or the judges do not know them)"
    assert said in capsys.readouterr().out
    page = (tmp_path/"run/audit.html").read_text()
    assert said in page and "may be wrong" not in page
    assert not table.doubted.any()
