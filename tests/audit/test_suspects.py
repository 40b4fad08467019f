"""Somebody pages through suspects and decides: what is clicked is in the csv, what is in the csv is trained on, and
nothing of the data is touched."""
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from torchvision.models import resnet18

from conftest import SMALL, papermill, tree
from layouts import DIGITS, docstrings
from noisykit.audit.audit import audit
from noisykit.audit.decisions import (DECISIONS, compare_trainings, decide, probe_words, read_decisions,
                                      use_decisions, write_decisions)
from noisykit.audit.estimate import estimate_errors, wrong_labels
from noisykit.audit.review import review_items
from noisykit.detection.detectors import detect, write_scores
from noisykit.errors import sentence
from noisykit.explore.suspects import PAGE, explore_suspects
from noisykit.plots.suspects import review_figure
from noisykit.record import Run
from noisykit.run import run_method
from notebooks import last_line, outputs
from pictures import digits_of, save_digit

SETTINGS = SMALL | dict(method="ce", noise_rate=0.3, probe_size=30, lr=0.05, quiet=True)
CLASSES = ["NA", "a, b", 'ünï "1"', "<b>3"]   # names that csv, pandas and html like to spoil

@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return run_method(run_dir=str(tmp_path_factory.mktemp("suspects")/"run"), val_share=0.1,
                      **SETTINGS | dict(epochs=3))

@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    "(folder with digits 0 to 3 as JPEGs, every twelfth in the folder of another class; the audit's)"
    folder = tmp_path_factory.mktemp("audited")
    own = folder/"own"
    for k, number in enumerate(np.flatnonzero(DIGITS.target < 4)[:120]):
        true = DIGITS.target[number]
        save_digit(own/CLASSES[(true + (k % 12 == 5)) % 4]/f"{k:03} of {true}.jpg", number, (20, 16))
    (own/"NA"/"cut.jpg").write_bytes(next((own/"NA").glob("*.jpg")).read_bytes()[:200])
    audit(own, folder/"audit", weights="random", epochs=25, folds=2, device="cpu")
    return own, folder/"audit"

def middle(explorer, i):
    "Where picture i of the page is, as fractions of the figure"
    figure, axes = explorer.figure, explorer.figure.axes[0]
    columns = round(axes.get_xlim()[1]) if axes.images else 1
    point = (i % columns + .5, i//columns + .6) if axes.images else (.5, i)
    return axes.transData.transform(point)/(figure.bbox.width, figure.bbox.height)

def press(explorer, *buttons):
    for name in buttons: explorer.buttons[name].click()

def choose(explorer, label):
    "Another label for the current suspect"
    explorer.another.value = label
    press(explorer, "another")

def learned(run): return run.all_labels[run.all_labels.split == "train"].set_index("index").given

def part(run, split): return run.all_labels["index"][run.all_labels.split == split].tolist()

# ---- a run

@pytest.fixture(scope="module")
def decided(run, tmp_path_factory):
    """Somebody clicks on some, presses some buttons, takes one decision back and makes it again.

    (file of the decisions, what the run's folder held before)
    """
    before, out = tree(run.folder), tmp_path_factory.mktemp("decided")/"mine.csv"
    explorer = explore_suspects(run, "confidence", out)
    image = explorer.review.items.table.image
    assert image.tolist() == detect(run, "confidence")["index"].tolist()
    for i in (3, 17, 17): explorer.click(*middle(explorer, i))
    explorer.click(0.001, 0.999)   # beside the pictures
    explorer.controls["page"].value = 2
    first = explorer.picture.png
    press(explorer, "accept", "remove", "next", "remove")
    assert explorer.picture.png != first
    choose(explorer, "7")
    press(explorer, "undo")
    assert image[28] not in set(explorer.review.decisions.image)   # the one that was decided a moment ago
    assert explorer.review.position == 28
    choose(explorer, "7")
    return out, before

# place in the ranking -> decision, of what was clicked and pressed
PRESSED = {3: "accept", 17: "reject", 24: "accept", 25: "remove", 27: "remove"}

def test_decisions_stay(run, decided):
    "In the explorer of another detector"
    out, before = decided
    image = explore_suspects(run, "confidence", out).review.items.table.image
    explorer = explore_suspects(run, out=out)
    decisions = explorer.review.decisions
    assert set(decisions.image) == set(image.iloc[[*PRESSED, 28]])
    assert decisions.equals(read_decisions(out, explorer.review.items))
    by_image = decisions.set_index("image").decision
    assert {place: by_image[image[place]] for place in PRESSED} == PRESSED
    assert tree(run.folder) == before

def test_a_run_is_trained_on_decisions(run, decided, tmp_path):
    "On the labels that were decided, in the same split, without what is removed"
    out, _ = decided
    decisions = read_decisions(out, review_items(run)).set_index("image")
    settings = use_decisions(run, out, tmp_path/"used")
    after = run_method(method="ce", epochs=1, device="cpu", quiet=True, run_dir=str(tmp_path/"after"), **settings)
    removed = set(decisions.index[decisions.decision == "remove"])
    assert "scores_file" not in settings
    table = pd.read_csv(settings["noise_file"])
    assert set(table["index"][table.removed]) == removed == set(part(after, "removed"))
    old, new = learned(run), learned(after)
    assert set(old.index) - set(new.index) == removed
    assert not set(new.index) - set(old.index)
    expected, kept = old.astype(str), decisions[decisions.decision != "remove"]
    expected[kept.index] = kept.label
    assert (expected[new.index] == new.astype(str)).all()
    assert (expected != old.astype(str)).sum() >= 2
    for split in ("probe", "valid"): assert part(after, split) == part(run, split)

def test_two_explorers_at_once(run, tmp_path):
    "Neither of the two loses what the other decided; `rest` rejects what is left of the page"
    one, two = (explore_suspects(run, out=tmp_path/"decisions.csv") for _ in range(2))
    press(one, "accept")
    two.click(*middle(two, 5))
    press(one, "rest")
    press(two, "next", "remove")
    image = one.review.items.table.image
    decisions = read_decisions(tmp_path/"decisions.csv", one.review.items)
    assert set(decisions.image) == set(image[:24])
    assert one.controls["page"].value == 2
    assert one.review.position == 24
    first = decisions.set_index("image").decision[image[:7]]
    assert first.tolist() == ["accept", *["reject"]*4, "accept", "remove"]

def test_the_end_of_the_ranking(run, tmp_path):
    "It is no error"
    explorer = explore_suspects(run, out=tmp_path/"decisions.csv")
    image, last = explorer.review.items.table.image, explorer.controls["page"].max
    explorer.move(page=last)
    for _ in range(30): press(explorer, "reject")
    assert explorer.review.position == len(image) - 1
    assert not explorer.message.value
    assert explorer.review.decisions.image.isin(image.iloc[PAGE*(last - 1):]).all()
    explorer.controls["page"].value = 1
    assert explorer.review.position == 0

def test_a_sample_and_its_estimate(run, tmp_path):
    "The other images are shown by a button; when all are decided, it is said how many labels are wrong"
    explorer = explore_suspects(run, out=tmp_path/"decisions.csv")
    review, true, ranking = explorer.review, run.all_labels.true.astype(str), explorer.review.items.table
    pages = explorer.controls["page"].max
    press(explorer, "reject")
    explorer.which.value = "sample"
    assert explorer.controls["page"].max == 3
    assert review.current.image not in set(review.decisions.image)
    for review.position in range(60): review.decide("another", true[review.current.image])
    press(explorer, "back")
    assert "labels are wrong" in explorer.state.value
    errors = estimate_errors(wrong_labels(ranking, review.decisions), review.sample.index.to_numpy())
    wrong = run.labels.flipped.sum()
    assert .8*errors.number[1] < wrong < 1.2*errors.number[2]
    explorer.which.value = "ranking"
    assert explorer.controls["page"].max == pages
    assert set(read_decisions(tmp_path/"decisions.csv", review.items).image) >= set(review.sample.image)
    assert "must be a number of images" in sentence(explore_suspects, run, sample=0)

def test_undo_takes_back_what_was_done_last(run, tmp_path):
    "A page that was rejected at once, a decision that was changed, one in the sample; not those of another explorer"
    one, two = (explore_suspects(run, out=tmp_path/"decisions.csv") for _ in range(2))
    image = one.review.items.table.image
    press(two, "accept")
    press(one, "next", "accept", "back", "back", "next", "reject", "rest")
    assert len(one.review.decisions) == PAGE
    press(one, "undo")
    assert one.review.decisions.image.tolist() == sorted(image[:2])
    assert one.review.position == 2
    press(one, "undo")
    decided = one.review.decisions.set_index("image").decision
    assert decided.to_dict() == {image[0]: "accept", image[1]: "accept"}   # it was accepted before
    press(one, "undo", "undo")
    assert "nothing was decided here yet" in one.message.value
    assert one.review.decisions.image.tolist() == [image[0]]

DRAW = """
import numpy as np, pandas as pd
from noisykit.plots.draw import png
from noisykit.plots.suspects import review_figure
names = ["バラとひまわりの花", "ورد أحمر طويل الاسم", "गुलाब", "a name that is far too long"]
table = pd.DataFrame(dict(image=range(4), given=names, suggested=names[::-1], score=.5))
png(review_figure(table, lambda rows: np.zeros((len(rows), 3, 16, 16), np.uint8)))
"""

def test_names_in_any_script():
    "No font may have the letters: that is no warning"
    done = subprocess.run([sys.executable, "-W", "error::UserWarning", "-c", DRAW], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "findfont" not in done.stderr

def test_texts(tmp_path):
    docstrings().to_csv(tmp_path/"docs.csv", index=False)
    usual = dict(method="ce", epochs=1, device="cpu", quiet=True)
    run = run_method(dataset="text", data_dir=str(tmp_path), noise="symmetric", noise_rate=0.3, probe_size=0,
                     run_dir=str(tmp_path/"run"), **usual)
    explorer = explore_suspects(run)
    explorer.click(*middle(explorer, 4))
    explorer.controls["page"].value = 2
    decisions = explorer.review.decisions
    assert decisions.image.tolist() == [explorer.review.items.table.image[4]]
    assert set(decisions.label) <= {"numpy", "pandas", "torch"}
    settings = use_decisions(run, tmp_path/"run/decisions.csv", tmp_path/"used")
    after = run_method(run_dir=str(tmp_path/"after"), **usual, **settings)
    assert (learned(after) != learned(run)).sum() == 1

# ---- an audit

def test_an_audit(audited, tmp_path):
    "Odd class names, a broken image, pictures that are not square: the list that comes of it holds what was decided"
    own, folder = audited
    before, out = tree(own), tmp_path/"decisions.csv"
    explorer = explore_suspects(folder/"suspects.csv", out=out)
    items = explorer.review.items
    table = items.table
    assert items.classes == sorted(CLASSES)
    assert items.pictures(table.image[:5]).shape == (5, 3, 20, 20)
    true = table.image.map(lambda file: CLASSES[int(file[-5])])
    wrong = (table.given != true).to_numpy()
    assert len(table) == 120
    assert wrong.sum() == 10
    assert wrong[:10].sum() >= 5   # ranked well enough to be worth it
    for label in true[:24]: choose(explorer, label)
    press(explorer, "remove", "remove")
    while explorer.review.current.given != "<b>3": press(explorer, "next")
    assert "&lt;b&gt;3" in explorer.state.value
    assert "<b>3" not in explorer.state.value.replace("<b>&", "")
    decisions = pd.read_csv(out, dtype=str, keep_default_na=False)
    assert set(decisions.decision[decisions.image.isin(table.image[:24])]) <= {"accept", "reject", "another"}
    assert (decisions.decision == "remove").sum() == 2
    settings = use_decisions(folder, out, tmp_path/"used")
    assert settings["model"] == "cnn"
    assert settings["data_options"] == dict(image_size=16)
    after = train_on(settings | dict(epochs=1, data_options=dict(image_size=16, hold_out=False)), tmp_path/"after")
    said = dict(zip(table.image, table.given)) | dict(zip(table.image[:24], true[:24]))
    names = after.all_labels.given.map(dict(enumerate(after.data["classes"])))
    files = ["/".join(file.split("/")[-2:]) for file in after.all_labels.file]
    assert len(names) == 118
    assert names.tolist() == [said[file] for file in files]
    assert tree(own) == before

def test_before_and_after(audited, tmp_path):
    "On the same held-out images; one class is left with a single image, and one with none"
    _, folder = audited
    items, out = review_items(folder), tmp_path/"decisions.csv"
    of = {name: items.table.image[items.table.given == name] for name in CLASSES}
    decisions = decide(items, of["<b>3"], "another", "NA")
    decisions = decide(items, of["a, b"][1:], "another", "NA", before=decisions)
    write_decisions(decide(items, of["NA"][:2], "remove", before=decisions), out)
    table = compare_trainings(folder, out, tmp_path/"out", ["ce", "l2r"], device="cpu")
    assert table.index.tolist() == ["before", "after, ce", "after, l2r"]
    before, after, with_probe = (Run(tmp_path/"out"/name) for name in ("before", "ce", "l2r"))
    assert before.all_labels.file.tolist() == after.all_labels.file.tolist()   # so the others are held out
    assert 0 < before.labels.flipped.sum() and not after.labels.flipped.any()
    probe = with_probe.all_labels[with_probe.all_labels.split == "probe"].file
    reviewed = {Path(image).name for image in decisions.image}
    assert len(probe) and {Path(file).name for file in probe} <= reviewed
    said = probe_words(folder, out, tmp_path/"out")
    assert f"{len(probe)} images that were looked at may serve as a probe" in said
    assert "none of them is labelled" in said

def train_on(settings, folder):
    "A run on an audit's images with the labels that were decided"
    usual = dict(method="ce", device="cpu", quiet=True, probe_size=0, noise="none")
    return run_method(run_dir=str(folder), **usual | settings)

def test_pretrained_weights_stay(tmp_path):
    "A second training starts where the audit's own networks did"
    own, weights = tmp_path/"own", str(tmp_path/"pretrained.pt")
    for i in range(24): save_digit(own/f"digit {i % 2}"/f"{i:02}.png", digits_of(i % 2)[i])
    torch.manual_seed(0)
    torch.save(resnet18().state_dict(), weights)
    settings = dict(judge="finetune", model="resnet18", weights=weights, image_size=32, epochs=1, folds=2)
    audit(own, tmp_path/"audit", **settings, device="cpu")
    assert "The two opinions were pooled" in json.loads((tmp_path/"audit/audit.json").read_text())["what"]
    [kept] = (tmp_path/"audit/features").iterdir()
    assert kept.name.startswith("resnet18-pretrained-")
    items = review_items(tmp_path/"audit")
    write_decisions(decide(items, items.table.image[0], "remove"), tmp_path/"decisions.csv")
    settings = use_decisions(tmp_path/"audit", tmp_path/"decisions.csv", tmp_path/"used")
    fold = yaml.safe_load((tmp_path/"audit/folds/0/config.yaml").read_text())["config"]
    assert settings["weights"] == weights
    assert settings["data_options"]["image_size"] == 32
    for name in ("model", "weights", "epochs", "batch_size", "lr"): assert settings[name] == fold[name]
    listed = pd.read_csv(settings["data_dir"])
    assert len(listed) == 24
    assert listed.path[listed.removed].tolist() == [str(own/items.table.image[0])]
    after = train_on(settings | dict(data_options=dict(image_size=32, hold_out=False)), tmp_path/"after")
    assert after.config["weights"] == weights
    assert len(after.all_labels) == 23

@pytest.fixture
def moved(audited, tmp_path):
    "A copy of the audit, about a copy of the images without the broken one"
    own, folder = audited
    for path in own.rglob("*.jpg"):
        if path.name == "cut.jpg": continue
        copy = tmp_path/"own"/path.relative_to(own)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    (tmp_path/"audit").mkdir()
    for name in ("suspects.csv", "audit.json"): (tmp_path/"audit"/name).write_bytes((folder/name).read_bytes())
    return tmp_path/"audit"

def test_an_audit_of_images_that_changed(audited, moved, tmp_path):
    about = json.loads((moved/"audit.json").read_text())
    assert len(review_items(moved).table) == 120
    (moved/"audit.json").write_text(json.dumps(about | dict(data_dir=str(tmp_path/"own"))))
    items = review_items(moved)
    write_decisions(decide(items, items.table.image[0], "reject"), tmp_path/"decisions.csv")
    next((tmp_path/"own"/"NA").glob("*.jpg")).rename(tmp_path/"own"/"a, b"/"there.jpg")
    assert "have changed since they were audited" in sentence(review_items, moved)
    del about["data_dir"]
    (moved/"audit.json").write_text(json.dumps(about))
    assert "audit them again, with the same run_dir" in sentence(review_items, moved)
    # the broken file is not there
    first = review_items(audited[1])
    assert "are about other data or labels" in sentence(read_decisions, tmp_path/"decisions.csv", first)

# ---- what is refused

def one_line(said):
    assert "\n" not in said
    return said

def test_scores_files(run):
    "A detector's csv instead of its name, with scores of some samples"
    path = write_scores(run, "some", detect(run, "aum").iloc[::3])
    items = review_items(path)
    assert items.table.image.tolist() == detect(run, "aum")["index"][::3].tolist()
    assert items.data_id == review_items(run).data_id

def test_sources_that_are_refused(run, tmp_path):
    far = run.folder/"scores/far.csv"
    far.parent.mkdir(exist_ok=True)
    far.write_text("index,score\n1437,1\n")
    (tmp_path/"aum.csv").write_text("index,score\n1,1\n")
    def said(source): return one_line(sentence(explore_suspects, source))
    assert "its indices must be from 0 to 1436" in said(far)
    assert "is not in the scores/ of a run" in said(tmp_path/"aum.csv")
    assert "does not exist" in said(tmp_path/"no")
    assert "holds no run" in said(tmp_path)
    assert "unknown detector 'auk'" in sentence(explore_suspects, run, "auk")

@pytest.fixture
def four_accepted(run, tmp_path):
    "(file in which four suggestions are accepted, its text)"
    items, out = review_items(run), tmp_path/"decisions.csv"
    write_decisions(decide(items, items.table.image[:4], "accept"), out)
    return out, out.read_text()

def wrong_texts(good):
    "(text, what is said of it): decisions by hand that mean nothing"
    rows = good.splitlines()
    head, first = rows[:2]
    i, given, suggested, *_ = first.split(",")
    wrong = next(c for c in "0123456789" if c not in (given, suggested))
    return [
        (good.replace(",accept,", ",perhaps,"), "'perhaps'"),
        (head + "\n" + first.replace(f"accept,{suggested}", f"accept,{wrong}"), "means nothing"),
        (head + "\n" + first.replace(f"accept,{suggested}", "another,11"), "means nothing"),
        ("\n".join([*rows, first]), "twice"),
        (good.replace(f"\n{i},{given}", f"\n{i},{wrong}", 1), "other data or labels"),
        (good.replace(f"\n{i},", "\nfirst,", 1), "invalid literal"),
        ("a,b\n1,2\n", "must have the columns"),
        ("", "cannot be read as csv"),
    ]

def test_decisions_that_mean_nothing(run, four_accepted, tmp_path):
    "It is said before anything is written"
    out, good = four_accepted
    for text, said in wrong_texts(good):
        out.write_text(text)
        assert said in one_line(sentence(explore_suspects, run, out=out))
        assert out.read_text() == text
        assert said in sentence(use_decisions, run, out, tmp_path/"used")
        assert not (tmp_path/"used").exists()

def test_no_decisions(run, tmp_path):
    out = tmp_path/"decisions.csv"
    assert "is a folder" in sentence(explore_suspects, run, out=tmp_path)
    assert "does not exist" in sentence(use_decisions, run, tmp_path/"no.csv", tmp_path/"used")
    write_decisions(decide(review_items(run), [], None), out)
    assert "holds none" in sentence(use_decisions, run, out, tmp_path/"used")
    assert not len(explore_suspects(run, out=out).review.decisions)

def test_decisions_of_another_run(four_accepted, tmp_path):
    other = run_method(run_dir=str(tmp_path/"other"), **SETTINGS | dict(epochs=1, noise_rate=0.2))
    assert "are about other data or labels" in sentence(explore_suspects, other, out=four_accepted[0])

def test_decisions_that_are_spoilt_while_they_are_open(run, four_accepted):
    out, good = four_accepted
    explorer = explore_suspects(run, out=out)
    out.write_text(good.replace(",accept,", ",perhaps,"))
    press(explorer, "reject")
    assert "perhaps" in explorer.message.value
    assert "perhaps" in out.read_text()

def test_pages_and_decisions_there_are(run):
    items = review_items(run)
    assert "fill" in sentence(review_figure, items.table, items.pictures, page=-1)
    assert set(DECISIONS) == {"accept", "reject", "another", "remove"}

# ---- the notebook

def printed_command(notebook):
    "The first thing that it prints"
    return next("".join(output["text"]) for output in outputs(notebook) if output.get("name") == "stdout")

@pytest.mark.parametrize("kind", ["run", "audit"])
def test_the_notebook(run, audited, tmp_path, kind):
    "debug_labels prints the command that trains on decisions, and it does"
    source, out = run.folder if kind == "run" else audited[1], tmp_path/"decisions.csv"
    items = review_items(source)
    rejected = decide(items, items.table.image[:3], "reject")
    write_decisions(decide(items, items.table.image[3], "remove", before=rejected), out)
    more = ", retrain: [ce]" if kind == "run" else ""
    given = dict(run_dir=source, decisions=out, yaml=f"{{out: {tmp_path/'used'}{more}}}")
    done = papermill("debug_labels", tmp_path/"out.ipynb", **given)
    assert done.returncode == 0, done.stderr[-2000:]
    assert ("after, ce" in (tmp_path/"out.ipynb").read_text()) == (kind == "run")
    settings = yaml.safe_load(re.search(r"-y '(.*)'", printed_command(tmp_path/"out.ipynb"))[1])
    assert settings == use_decisions(source, out, tmp_path/"used")
    own = {} if kind == "run" else dict(data_options=dict(image_size=16), probe_size=0, model="cnn")
    after = run_method(method="ce", device="cpu", quiet=True, run_dir=str(tmp_path/"after"),
                       **settings | dict(epochs=1) | own)
    if kind == "run": assert len(after.all_labels) == len(run.all_labels)
    else: assert 0 < len(after.all_labels) < 119
    done = papermill("debug_labels", tmp_path/"out.ipynb", scores="scores.csv", **given)
    assert done.returncode
    assert "one of the two" in last_line(done)

# ---- labels that nobody knew a truth of

OWN = dict(dataset="imagefolder", data_options=dict(image_size=16, hold_out=False), noise="none", probe_size=0,
           model="cnn", epochs=1, device="cpu", quiet=True)

def test_own_labels(tmp_path):
    "What was decided is the truth now, in the probe too, and what the first run had left out stays out"
    own, scores, out = tmp_path/"own", tmp_path/"scores.csv", tmp_path/"decisions.csv"
    for i in range(200):   # every twentieth is in a wrong folder
        save_digit(own/f"digit {(DIGITS.target[i] + (i % 20 == 0)) % 10}"/f"{i:03}.png", i)
    pd.DataFrame(dict(index=range(200), score=[float(i < 10) for i in range(200)])).to_csv(scores, index=False)
    first = run_method(method="ce", run_dir=str(tmp_path/"first"), data_dir=str(own), scores_file=str(scores),
                       remove_ratio=.05, **OWN)
    def right(image): return f"digit {DIGITS.target[int(Path(first.all_labels.file[image]).stem)]}"
    def given(image): return first.data["classes"][first.all_labels.given[image]]
    items, decisions = review_items(first, "loss"), None
    wrong = [image for image in items.table.image if right(image) != given(image)]
    assert len(wrong) >= 9
    for image in wrong[1:]: decisions = decide(items, image, "another", right(image), before=decisions)
    write_decisions(decide(items, wrong[0], "remove", before=decisions), out)
    settings = use_decisions(first, out, tmp_path/"used") | dict(epochs=1, device="cpu", model="cnn", quiet=True)
    probed = run_method(method="l2r", run_dir=str(tmp_path/"probed"), **settings | dict(probe_size=30))
    labels = probed.all_labels
    assert not labels.flipped.any()
    assert [probed.data["classes"][label] for label in labels.true[wrong[1:]]] == [right(image) for image in wrong[1:]]
    again = run_method(method="ce", run_dir=str(tmp_path/"again"), **settings)
    assert set(part(again, "removed")) == {wrong[0]} | set(range(10)) - set(wrong[1:])
