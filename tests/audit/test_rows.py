"""Audits of texts and tables: the same ranking, page, decisions and refusals as those of images."""
import contextlib
import json

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer

from layouts import docstrings
from noisykit.audit.audit import audit
from noisykit.audit.decisions import decide, use_decisions, write_decisions
from noisykit.audit.export import export_audit
from noisykit.audit.review import review_items
from noisykit.audit.rows import opinion_of_rows, table_numbers
from noisykit.data.source import load_dataset
from noisykit.errors import Refused
from noisykit.explore.suspects import explore_suspects
from shared import one_thread

@pytest.fixture(autouse=True)
def _one_thread():
    with one_thread(): yield

def moved(labels, share=.05, seed=0):
    "(labels of which a share is another class, whether each was moved)"
    classes, codes = np.unique(labels, return_inverse=True)
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(codes))[:round(share*len(codes))]
    codes[rows] = (codes[rows] + rng.integers(1, len(classes), len(rows))) % len(classes)
    return classes[codes], np.isin(np.arange(len(codes)), rows)

def texts():
    "Docstrings of three packages, under names that are not the kit's"
    table = docstrings()
    labels, wrong = moved(table.label)
    return pd.DataFrame(dict(sentence=table.text, package=labels)), wrong

def table():
    "Numbers, words and empty fields"
    data = load_breast_cancer(as_frame=True)
    rows = data.data.iloc[:, :8].round(3).astype(object)
    rows["mean radius"] = pd.qcut(data.data["mean radius"], 4, labels=["low", "some", "more", "much"]).astype(str)
    rows.iloc[::9, 1] = ""
    labels, wrong = moved(data.target_names[data.target])
    return rows.assign(diagnosis=labels), wrong

SETTINGS = {"texts": dict(label_column="package"), "rows": dict(label_column="diagnosis")}

@pytest.fixture(scope="module", params=["texts", "rows"])
def audited(request, tmp_path_factory):
    "(kind, csv, folder of the audit, ranking, whether each row was moved)"
    folder, kind = tmp_path_factory.mktemp("rows"), request.param
    rows, wrong = texts() if kind == "texts" else table()
    rows.to_csv(folder/"mine.csv", index=False)
    before = (folder/"mine.csv").read_bytes()
    with one_thread(), contextlib.redirect_stdout(None):
        ranking = audit(folder/"mine.csv", folder/"run", folds=3, **SETTINGS[kind])
    assert (folder/"mine.csv").read_bytes() == before
    return kind, folder/"mine.csv", folder/"run", ranking, wrong

def test_moved_labels_come_first(audited):
    kind, csv, run, ranking, wrong = audited
    assert sorted(ranking.path) == sorted(f"line {line}" for line in range(2, len(wrong) + 2))
    places = ranking.path.str.removeprefix("line ").astype(int).to_numpy() - 2
    assert wrong[places][:wrong.sum()].mean() > .6
    assert ranking.label.tolist() == pd.read_csv(csv).iloc[places, -1].tolist()
    written = pd.read_csv(run/"suspects.csv")
    assert list(written) == list(ranking)
    assert written.path.tolist() == ranking.path.tolist()

def test_the_page_shows_what_is_judged(audited):
    kind, csv, run, ranking, _ = audited
    page = (run/"audit.html").read_text()
    assert page.count('class="said"') >= 60
    assert f"{kind} in {ranking.label.nunique()} classes" in page
    assert "<img" not in page
    assert json.loads((run/"audit.json").read_text())["kind"] == kind

def test_decisions(audited, tmp_path):
    "Whoever decides sees the text; what was decided can be trained on, if it is text"
    kind, csv, run, ranking, _ = audited
    items = review_items(run)
    shown = items.pictures(items.table.image[:2])
    first = pd.read_csv(csv).iloc[int(ranking.path[0].removeprefix("line ")) - 2]
    assert str(first.iloc[0]) in shown[0]
    decisions = decide(items, items.table.image[0], "accept")
    decisions = decide(items, items.table.image[1], "remove", before=decisions)
    write_decisions(decisions, tmp_path/"decisions.csv")
    settings = use_decisions(run, tmp_path/"decisions.csv", tmp_path/"out")
    rows = pd.read_csv(tmp_path/"out/decided/rows.csv")
    assert len(rows) == len(ranking) - 1
    assert (rows.label == ranking.suggested[0]).sum() == (ranking.label[2:] == ranking.suggested[0]).sum() + 1
    if kind == "texts": assert load_dataset("text", settings["data_dir"]).classes == items.classes
    else: assert settings == dict(data_dir=str(tmp_path/"out/decided/rows.csv"))

def test_the_explorer(audited, tmp_path):
    explorer = explore_suspects(audited[2], out=tmp_path/"decisions.csv")
    explorer.buttons["accept"].click()
    assert explorer.review.decisions.decision.tolist() == ["accept"]

def test_exports(audited):
    kind, _, run, ranking, _ = audited
    export_audit(run, ["label_studio", "datasets", "cleanlab"])
    tasks = json.loads((run/"export/label_studio.json").read_text())
    assert all(task["data"]["text"] for task in tasks)
    assert len(tasks) == len(pd.read_csv(run/"export/metadata.csv")) == len(ranking)
    with pytest.raises(ValueError, match="fiftyone shows pictures"): export_audit(run, "fiftyone")

def test_the_same_again_and_others(audited, tmp_path):
    "The same call gives the same; another file does not replace the audit"
    kind, csv, run, ranking, _ = audited
    with contextlib.redirect_stdout(None):
        again = audit(csv, run, folds=3, **SETTINGS[kind])
    pd.testing.assert_frame_equal(again, ranking)
    pd.read_csv(csv).iloc[10:].to_csv(tmp_path/"fewer.csv", index=False)
    with pytest.raises(Refused, match="choose another run_dir"):
        audit(tmp_path/"fewer.csv", run, folds=3, **SETTINGS[kind])
    assert review_items(run).table.image.tolist() == ranking.path.tolist()

def test_a_text_under_two_labels_is_a_problem(tmp_path):
    rows, _ = texts()
    rows.loc[len(rows)] = rows.sentence[0], "torch" if rows.package[0] != "torch" else "numpy"
    rows.loc[len(rows)] = rows.iloc[5]
    rows.to_csv(tmp_path/"mine.csv", index=False)
    with contextlib.redirect_stdout(None):
        ranking = audit(tmp_path/"mine.csv", tmp_path/"run", folds=3, **SETTINGS["texts"])
    problems = pd.read_csv(tmp_path/"run/problems.csv")
    assert problems["name"].tolist() == ["line 2", "line 362"]
    scores = ranking.set_index("path").score
    assert scores["line 363"] == scores["line 7"]

def test_refusals(tmp_path):
    for text, sentence in (("text,label\na b,x\nc d,y\n", "an audit with 5 folds needs 20"),
                           ("text,label\na b,x\nc d,x\n", "has one label"), ("label\nx\ny\n", "labels only")):
        (tmp_path/"mine.csv").write_text(text)
        with pytest.raises(Refused, match=sentence): audit(tmp_path/"mine.csv", tmp_path/"run")
    (tmp_path/"mine.csv").write_text("text,label\n" + "a b,x\nc d,y\n"*10)
    with pytest.raises(Refused, match="judge are settings of pictures"):
        audit(tmp_path/"mine.csv", tmp_path/"run", judge="scratch")
    assert not (tmp_path/"run").exists()

def test_columns_of_a_table():
    "A column of one value, one that is empty, one with more values than a tree takes"
    rows = pd.DataFrame(dict(same=["x"]*400, empty=[""]*400, many=[f"v{k}" for k in range(400)],
                             number=[str(k) for k in range(400)]))
    numbers, is_set = table_numbers(rows)
    assert is_set.tolist() == [True, True, True, False]
    assert np.nanmax(numbers[:, :3]) <= 200
    items = pd.DataFrame(dict(label=["a", "b"]*200, text=rows.many))
    assert np.isfinite(opinion_of_rows(items, rows, folds=2).probs).all()
