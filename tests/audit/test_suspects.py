"""Somebody pages through suspects and decides: what is clicked is in the csv, what is in the csv is trained on, and nothing of the data is touched."""
import json, re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image
from sklearn.datasets import load_digits
from torchvision.models import resnet18

from conftest import SMALL, papermill, tree
from layouts import docstrings
from noisykit.audit.audit import audit
from noisykit.errors import sentence
from noisykit.audit.decisions import DECISIONS, decide, read_decisions, use_decisions, write_decisions
from noisykit.detection.detectors import detect, write_scores
from noisykit.audit.review import review_items
from noisykit.explore.suspects import PAGE, explore_suspects
from noisykit.plots.suspects import review_figure
from noisykit.run import run_method

KW = SMALL | dict(method="ce", noise_rate=0.3, probe_size=30, lr=0.05, quiet=True)
CLASSES = ["NA", "a, b", 'ünï "1"', "<b>3"] # names that csv, pandas and html like to spoil

@pytest.fixture(scope="module")
def run(tmp_path_factory): return run_method(run_dir=str(tmp_path_factory.mktemp("suspects")/"run"), val_share=0.1, **KW | dict(epochs=3))

@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    "(folder with digits 0 to 3 as JPEGs, every twelfth in the folder of another class; the audit's)"
    d, digits = tmp_path_factory.mktemp("audited"), load_digits()
    for k, i in enumerate(np.flatnonzero(digits.target < 4)[:120]):
        path = d/"own"/CLASSES[(digits.target[i] + (k % 12 == 5)) % 4]/f"{k:03} of {digits.target[i]}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((digits.images[i]*15).astype(np.uint8)).resize((20, 16)).save(path)
    (d/"own"/"NA"/"cut.jpg").write_bytes((next((d/"own"/"NA").glob("*.jpg"))).read_bytes()[:200])
    audit(d/"own", d/"audit", weights="random", epochs=25, folds=2, device="cpu")
    return d/"own", d/"audit"

def middle(e, i):
    "Where picture i of the page is, as fractions of the figure"
    ax = e.figure.axes[0]
    columns = round(ax.get_xlim()[1]) if ax.images else 1
    return ax.transData.transform((i % columns + .5, i//columns + .6) if ax.images else (.5, i))/(e.figure.bbox.width, e.figure.bbox.height)

def learned(r): return r.all_labels[r.all_labels.split == "train"].set_index("index").given

def test_the_whole_way(run, tmp_path):
    "Clicked, saved, read again by another explorer, trained on: all the same labels, the same split but for what is removed"
    before, out = tree(run.folder), tmp_path/"mine.csv"
    e = explore_suspects(run, "confidence", out)
    t = e.review.items.table
    assert t.image.tolist() == detect(run, "confidence")["index"].tolist()
    e.click(*middle(e, 3)); e.click(*middle(e, 17)); e.click(*middle(e, 17)); e.click(0.001, 0.999)
    e.controls["page"].value = 2
    first = e.picture.png
    for b in ("accept", "remove", "next", "remove"): e.buttons[b].click()
    assert e.picture.png != first
    e.another.value = "7"; e.buttons["another"].click(); e.buttons["undo"].click()
    assert t.image[28] not in set(e.review.decisions.image) and e.review.position == 28 # the one that was decided a moment ago
    e.another.value = "7"; e.buttons["another"].click()
    e = explore_suspects(run, out=out) # by another detector: the decisions stay
    assert set(e.review.decisions.image) == set(t.image.iloc[[3, 17, 24, 25, 27, 28]]) and e.review.decisions.equals(read_decisions(out, e.review.items))
    d = e.review.decisions.set_index("image")
    for place, decision in ((3, "accept"), (17, "reject"), (24, "accept"), (25, "remove"), (27, "remove")): assert d.decision[t.image[place]] == decision
    assert tree(run.folder) == before
    settings = use_decisions(run, out, tmp_path/"decided")
    after = run_method(method="ce", epochs=1, device="cpu", quiet=True, run_dir=str(tmp_path/"after"), **settings)
    assert "scores_file" not in settings and set((table := pd.read_csv(settings["noise_file"]))["index"][table.removed]) == set(d.index[d.decision == "remove"])
    old, new, gone = learned(run), learned(after), set(d.index[d.decision == "remove"])
    assert set(old.index) - set(new.index) == gone and not set(new.index) - set(old.index) and set(after.all_labels["index"][after.all_labels.split == "removed"]) == gone
    changed = old.astype(str)
    keep = d[d.decision != "remove"]
    changed[keep.index] = keep.label
    assert (changed[new.index] == new.astype(str)).all() and (changed != old.astype(str)).sum() >= 2
    for split in ("probe", "valid"): assert after.all_labels["index"][after.all_labels.split == split].tolist() == run.all_labels["index"][run.all_labels.split == split].tolist()

def test_the_rest_of_a_page_and_two_at_once(run, tmp_path):
    "Neither of two explorers loses what the other decided"
    one, two = (explore_suspects(run, out=tmp_path/"d.csv") for _ in range(2))
    one.buttons["accept"].click(); two.click(*middle(two, 5)); one.buttons["rest"].click(); two.buttons["next"].click(); two.buttons["remove"].click()
    t, d = one.review.items.table, read_decisions(tmp_path/"d.csv", one.review.items)
    assert set(d.image) == set(t.image[:24]) and one.controls["page"].value == 2 and one.review.position == 24
    assert d.set_index("image").decision[t.image[:7]].tolist() == ["accept", *["reject"]*4, "accept", "remove"]
    last = explore_suspects(run, out=tmp_path/"e.csv")
    last.move(page=last.controls["page"].max)
    for _ in range(30): last.buttons["reject"].click() # the end of the ranking is no error
    assert last.review.position == len(t) - 1 and not last.message.value and last.review.decisions.image.isin(t.image.iloc[PAGE*(last.controls["page"].max - 1):]).all()
    last.controls["page"].value = 1
    assert last.review.position == 0

def test_an_audit(audited, tmp_path):
    "Odd class names, a broken image, whatever is not square: the list that comes of it holds what was decided, the files are as they were"
    own, folder = audited
    before = tree(own)
    e = explore_suspects(folder/"suspects.csv", out=tmp_path/"d.csv")
    assert e.review.items.classes == sorted(CLASSES) and e.review.items.pictures(e.review.items.table.image[:5]).shape == (5, 3, 20, 20)
    t, true = e.review.items.table, e.review.items.table.image.map(lambda f: CLASSES[int(f[-5])])
    wrong = (t.given != true).to_numpy()
    assert len(t) == 120 and wrong.sum() == 10 and wrong[:10].sum() >= 5 # ranked well enough to be worth it
    for i, f in enumerate(true[:24]):
        e.another.value = f; e.buttons["another"].click()
    for _ in range(2): e.buttons["remove"].click()
    while e.review.current.given != "<b>3": e.buttons["next"].click()
    assert "&lt;b&gt;3" in e.state.value and "<b>3" not in e.state.value.replace("<b>&", "")
    d = pd.read_csv(tmp_path/"d.csv", dtype=str, keep_default_na=False)
    assert set(d.decision[d.image.isin(t.image[:24])]) <= {"accept", "reject", "another"} and (d.decision == "remove").sum() == 2
    settings = use_decisions(folder, tmp_path/"d.csv", tmp_path/"decided")
    after = run_method(method="ce", epochs=1, device="cpu", quiet=True, probe_size=0, noise="none", run_dir=str(tmp_path/"after"), **{k: v for k, v in settings.items() if k != "epochs"} | dict(data_options=dict(image_size=16, hold_out=False)))
    assert settings["model"] == "cnn" and settings["data_options"] == dict(image_size=16)
    names = after.all_labels.given.map(dict(enumerate(after.data["classes"])))
    said = dict(zip(t.image, t.given)) | dict(zip(t.image[:24], true[:24]))
    assert len(names) == 118 and all(n == said["/".join(f.split("/")[-2:])] for n, f in zip(names, after.all_labels.file)) and tree(own) == before

def test_pretrained_weights_stay(tmp_path):
    "A second training starts where the audit's own networks did"
    digits, own = load_digits(), tmp_path/"own"
    for i in range(24):
        path = own/f"digit {i % 2}"/f"{i:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((digits.images[np.flatnonzero(digits.target == i % 2)[i]]*15).astype(np.uint8)).save(path)
    torch.manual_seed(0)
    torch.save(resnet18().state_dict(), tmp_path/"pretrained.pt")
    audit(own, tmp_path/"audit", model="resnet18", weights=str(tmp_path/"pretrained.pt"), image_size=32, epochs=1, folds=2, device="cpu")
    items = review_items(tmp_path/"audit")
    write_decisions(decide(items, items.table.image[0], "remove"), tmp_path/"d.csv")
    settings = use_decisions(tmp_path/"audit", tmp_path/"d.csv", tmp_path/"decided")
    own_networks = yaml.safe_load((tmp_path/"audit/folds/0/config.yaml").read_text())["config"]
    assert settings["weights"] == str(tmp_path/"pretrained.pt") and settings["data_options"]["image_size"] == 32
    assert all(settings[k] == own_networks[k] for k in ("model", "weights", "epochs", "batch_size", "lr"))
    listed = pd.read_csv(settings["data_dir"])
    assert len(listed) == 24 and listed.path[listed.removed].tolist() == [str(own/items.table.image[0])]
    after = run_method(method="ce", quiet=True, device="cpu", probe_size=0, noise="none", run_dir=str(tmp_path/"after"), **settings | dict(data_options=dict(image_size=32, hold_out=False)))
    assert after.config["weights"] == str(tmp_path/"pretrained.pt") and len(after.all_labels) == 23

def test_an_audit_of_something_that_changed(audited, tmp_path):
    own, folder = audited
    for f in own.rglob("*.jpg"):
        if f.name != "cut.jpg": (g := tmp_path/"own"/f.relative_to(own)).parent.mkdir(parents=True, exist_ok=True); g.write_bytes(f.read_bytes())
    moved = tmp_path/"audit"; moved.mkdir()
    for n in ("suspects.csv", "audit.json"): (moved/n).write_bytes((folder/n).read_bytes())
    about = json.loads((moved/"audit.json").read_text())
    assert len(review_items(moved).table) == 120
    (moved/"audit.json").write_text(json.dumps(about | dict(data_dir=str(tmp_path/"own"))))
    s = review_items(moved)
    write_decisions(decide(s, s.table.image[0], "reject"), tmp_path/"d.csv")
    next((tmp_path/"own"/"NA").glob("*.jpg")).rename(tmp_path/"own"/"a, b"/"there.jpg")
    assert "have changed since they were audited" in sentence(review_items, moved)
    (moved/"audit.json").write_text(json.dumps({k: v for k, v in about.items() if k != "data_dir"}))
    assert "audit them again, with the same run_dir" in sentence(review_items, moved)
    assert "are about other data or labels" in sentence(read_decisions, tmp_path/"d.csv", review_items(folder)) # the broken file is not there

def test_texts(tmp_path):
    docstrings().to_csv(tmp_path/"docs.csv", index=False)
    r = run_method(method="ce", dataset="text", data_dir=str(tmp_path), noise="symmetric", noise_rate=0.3, probe_size=0, epochs=1, device="cpu", quiet=True, run_dir=str(tmp_path/"run"))
    e = explore_suspects(r)
    e.click(*middle(e, 4)); e.controls["page"].value = 2
    assert e.review.decisions.image.tolist() == [e.review.items.table.image[4]] and set(e.review.decisions.label) <= {"numpy", "pandas", "torch"}
    after = run_method(method="ce", epochs=1, device="cpu", quiet=True, run_dir=str(tmp_path/"after"), **use_decisions(r, tmp_path/"run/decisions.csv", tmp_path/"decided"))
    assert (learned(after) != learned(r)).sum() == 1

def test_scores_files(run, tmp_path):
    path = write_scores(run, "some", detect(run, "aum").iloc[::3])
    s = review_items(path)
    assert s.table.image.tolist() == detect(run, "aum")["index"][::3].tolist() and s.data_id == review_items(run).data_id
    (run.folder/"scores/far.csv").write_text("index,score\n1437,1\n")
    (tmp_path/"aum.csv").write_bytes(path.read_bytes())
    for source, said in ((run.folder/"scores/far.csv", "its indices must be from 0 to 1436"), (tmp_path/"aum.csv", "is not in the scores/ of a run"), (tmp_path/"no", "does not exist"), (tmp_path, "holds no run")):
        assert said in (text := sentence(explore_suspects, source)) and "\n" not in text
    assert "unknown detector 'auk'" in sentence(explore_suspects, run, "auk")

def test_refusals(run, tmp_path):
    "Decisions by hand: what means nothing is said before anything is written"
    s, out = review_items(run), tmp_path/"d.csv"
    write_decisions(decide(s, s.table.image[:4], "accept"), out)
    good = out.read_text()
    rows = good.splitlines()
    i, given, suggested, *_ = rows[1].split(",")
    wrong = next(c for c in "0123456789" if c not in (given, suggested))
    for text, said in ((good.replace(",accept,", ",perhaps,"), "'perhaps'"), (rows[0] + "\n" + rows[1].replace(f"accept,{suggested}", f"accept,{wrong}"), "means nothing"), (rows[0] + "\n" + rows[1].replace(f"accept,{suggested}", "another,11"), "means nothing"),
                       ("\n".join([*rows, rows[1]]), "twice"), (good.replace(f"\n{i},{given}", f"\n{i},{wrong}", 1), "other data or labels"), (good.replace(f"\n{i},", "\nfirst,", 1), "invalid literal"), ("a,b\n1,2\n", "must have the columns"), ("", "cannot be read as csv")):
        out.write_text(text)
        assert said in (message := sentence(explore_suspects, run, out=out)) and "\n" not in message, message
        assert out.read_text() == text and said in sentence(use_decisions, run, out, tmp_path/"decided") and not (tmp_path/"decided").exists()
    assert "is a folder" in sentence(explore_suspects, run, out=tmp_path)
    assert "does not exist" in sentence(use_decisions, run, tmp_path/"no.csv", tmp_path/"decided")
    write_decisions(decide(s, [], None), out)
    assert "holds none" in sentence(use_decisions, run, out, tmp_path/"decided") and not len(explore_suspects(run, out=out).review.decisions)
    other = run_method(run_dir=str(tmp_path/"other"), **KW | dict(epochs=1, noise_rate=0.2))
    out.write_text(good)
    assert "are about other data or labels" in sentence(explore_suspects, other, out=out)
    e = explore_suspects(run, out=out)
    out.write_text(good.replace(",accept,", ",perhaps,")) # while it is open
    e.buttons["reject"].click()
    assert "perhaps" in e.message.value and "perhaps" in out.read_text()
    assert "fill" in sentence(review_figure, s.table, s.pictures, page=-1) and set(DECISIONS) == {"accept", "reject", "another", "remove"}

@pytest.mark.parametrize("kind", ["run", "audit"])
def test_the_notebook(run, audited, tmp_path, kind):
    "debug_labels prints the command that trains on decisions, and it does"
    source = run.folder if kind == "run" else audited[1]
    s = review_items(source)
    d = decide(s, s.table.image[:3], "reject")
    write_decisions(decide(s, s.table.image[3], "remove", before=d), tmp_path/"d.csv")
    done = papermill("debug_labels", tmp_path/"out.ipynb", run_dir=source, decisions=tmp_path/"d.csv", yaml=f"out: {tmp_path/'decided'}")
    assert done.returncode == 0, done.stderr[-2000:]
    said = next("".join(o["text"]) for c in json.loads((tmp_path/"out.ipynb").read_text())["cells"] for o in c.get("outputs", []) if o.get("name") == "stdout")
    settings = yaml.safe_load(re.search(r"-y '(.*)'", said)[1])
    assert settings == use_decisions(source, tmp_path/"d.csv", tmp_path/"decided")
    after = run_method(method="ce", device="cpu", quiet=True, run_dir=str(tmp_path/"after"), **settings | dict(epochs=1) | ({} if kind == "run" else dict(data_options=dict(image_size=16), probe_size=0, model="cnn")))
    assert len(after.all_labels) == len(run.all_labels) if kind == "run" else 0 < len(after.all_labels) < 119
    done = papermill("debug_labels", tmp_path/"out.ipynb", run_dir=source, decisions=tmp_path/"d.csv", scores="s.csv", yaml=f"out: {tmp_path/'decided'}")
    assert done.returncode and "one of the two" in done.stderr.strip().splitlines()[-1]

def test_own_labels(tmp_path):
    "Nobody knew a truth: what was decided is the truth now, in the probe too, and what the first run had left out stays out"
    digits, own = load_digits(), tmp_path/"own"
    for i in range(200):
        path = own/f"digit {(digits.target[i] + (i % 20 == 0)) % 10}"/f"{i:03}.png" # every twentieth is misfiled
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((digits.images[i]*15).astype(np.uint8)).save(path)
    common = dict(dataset="imagefolder", data_dir=str(own), data_options=dict(image_size=16, hold_out=False), noise="none", probe_size=0, model="cnn", epochs=1, device="cpu", quiet=True)
    scores = tmp_path/"scores.csv"
    pd.DataFrame(dict(index=range(200), score=[float(i < 10) for i in range(200)])).to_csv(scores, index=False)
    first = run_method(method="ce", run_dir=str(tmp_path/"first"), scores_file=str(scores), remove_ratio=.05, **common)
    s = review_items(first, "loss")
    right = lambda i: f"digit {digits.target[int(Path(first.all_labels.file[i]).stem)]}"
    wrong = [i for i in s.table.image if right(i) != first.data["classes"][first.all_labels.given[i]]]
    assert len(wrong) >= 9
    d = None
    for i in wrong[1:]: d = decide(s, i, "another", right(i), before=d)
    write_decisions(decide(s, wrong[0], "remove", before=d), tmp_path/"d.csv")
    settings = use_decisions(first, tmp_path/"d.csv", tmp_path/"out")
    third = run_method(method="l2r", epochs=1, device="cpu", model="cnn", quiet=True, run_dir=str(tmp_path/"third"), **settings | dict(probe_size=30))
    L = third.all_labels
    assert not L.flipped.any() and [third.data["classes"][k] for k in L.true[wrong[1:]]] == [right(i) for i in wrong[1:]]
    again = run_method(method="ce", epochs=1, device="cpu", model="cnn", quiet=True, run_dir=str(tmp_path/"again"), **settings).all_labels
    assert set(again["index"][again.split == "removed"]) == {wrong[0]} | set(range(10)) - set(wrong[1:])
