"""Data sets from elsewhere: packed ones are read as the library that made them reads them, and columns under any name
are found, or asked for."""
import io
import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from noisykit.audit.rows import list_rows
from noisykit.data.columns import AGREEMENT, named_items
from noisykit.data.unpack import unpack
from refusals import refused

DIGITS = load_digits()
NAMES = [f"digit {k}" for k in range(10)]

def pixels(i): return (15*DIGITS.images[i]).astype(np.uint8)

def png(i):
    Image.fromarray(pixels(i)).save(file := io.BytesIO(), "PNG")
    return file.getvalue()

def read(path): return pd.read_csv(path, dtype=str, keep_default_na=False)

# ---- parquet, without the library

def write_parquet(path, rows, features=None):
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path.parent.mkdir(parents=True, exist_ok=True)
    table = arrow.table(rows)
    if features: table = table.replace_schema_metadata({b"huggingface": json.dumps(
        dict(info=dict(features=features))).encode()})
    parquet.write_table(table, path)

LABEL = dict(_type="ClassLabel", names=NAMES)

def test_images_in_parquet(tmp_path):
    rows = dict(image=[dict(bytes=png(i), path=f"{i}.png") for i in range(5)], label=DIGITS.target[:5].tolist())
    write_parquet(tmp_path/"hub/train.parquet", rows, dict(image=dict(_type="Image"), label=LABEL))
    csv, said = named_items(tmp_path/"hub", tmp_path/"out")
    table = read(csv)
    assert table.label.tolist() == [NAMES[k] for k in DIGITS.target[:5]]
    for i, path in enumerate(table.path): assert (np.array(Image.open(path)) == pixels(i)).all()
    assert said == [f"unpacked 5 rows of {tmp_path/'hub'}: train 5"]

@pytest.mark.parametrize("rows, columns, labels", [
    (dict(sentence=["one two three", "four five six", "x y z"], y=[1, 0, 1]), ["text", "label"], ["1", "0", "1"]),
    (dict(a=[1.5, None], b=["u", "v"], label=["p", "q"]), ["a", "b", "label"], ["p", "q"]),
    (dict(img=[b"\x89PNG1", b"\x89PNG2"], label=["p", "q"]), ["path", "label"], ["p", "q"])])
def test_parquet_of_other_programs(tmp_path, rows, columns, labels):
    write_parquet(tmp_path/"a.parquet", rows)
    csv, _ = named_items(tmp_path/"a.parquet", tmp_path/"out")
    table = read(csv)
    assert list(table) == columns
    assert table.label.tolist() == labels

def test_a_row_without_a_label(tmp_path):
    "-1 is how datasets says that there is none"
    write_parquet(tmp_path/"a.parquet", dict(text=["a b c", "d e f"], label=[0, -1]), dict(label=LABEL))
    with refused("have no label"): named_items(tmp_path/"a.parquet", tmp_path/"out")

def test_damaged_parquet(tmp_path):
    (tmp_path/"a.parquet").write_bytes(b"PAR1\x15 and no more")
    pytest.importorskip("pyarrow")
    with refused("cannot be read as table"): unpack(tmp_path/"a.parquet", tmp_path/"out")
    (tmp_path/"a.parquet").write_bytes(b"<!doctype html>")
    with refused("a web page"): unpack(tmp_path/"a.parquet", tmp_path/"out")

# ---- what the library writes

def test_what_datasets_writes(tmp_path):
    "Parquet and a saved folder of a data set with two parts, with images and names of classes"
    pytest.importorskip("datasets.arrow_dataset") # tests/datasets is called like the library
    import datasets
    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=NAMES))
    def part(rows):
        columns = dict(image=[Image.fromarray(pixels(i)) for i in rows], label=[int(DIGITS.target[i]) for i in rows])
        return datasets.Dataset.from_dict(columns, features=features)
    both = datasets.DatasetDict(train=part(range(6)), test=part(range(6, 9)))
    both.save_to_disk(tmp_path/"saved")
    (tmp_path/"hub/data").mkdir(parents=True)
    for name, data in both.items(): data.to_parquet(tmp_path/f"hub/data/{name}-00000-of-00001.parquet")
    for place in ("saved", "hub"):
        csv, said = named_items(tmp_path/place, tmp_path/"out"/place)
        assert "train 6, test 3" in said[0]
        table = read(csv)
        assert table.label.tolist() == [NAMES[k] for k in DIGITS.target[:9]]
        for i, path in enumerate(table.path): assert (np.array(Image.open(path)) == pixels(i)).all()

# ---- image folders with metadata

@pytest.mark.parametrize("jsonl", [False, True])
def test_metadata(tmp_path, jsonl):
    (tmp_path/"mine/a").mkdir(parents=True)
    for i in range(3): (tmp_path/f"mine/a/{i}.png").write_bytes(png(i))
    table = pd.DataFrame(dict(file_name=[f"a/{i}.png" for i in range(3)], category=list("xyx")))
    if jsonl: table.to_json(tmp_path/"mine/metadata.jsonl", orient="records", lines=True)
    else: table.to_csv(tmp_path/"mine/metadata.csv", index=False)
    csv, said = named_items(tmp_path/"mine", tmp_path/"out")
    assert read(csv).path.tolist() == [str(tmp_path/f"mine/a/{i}.png") for i in range(3)]
    assert read(csv).label.tolist() == list("xyx")
    assert "column 'category' is read as label" in said

def test_a_table_that_is_only_called_metadata(tmp_path):
    (tmp_path/"mine").mkdir()
    (tmp_path/"mine/metadata.csv").write_text("camera,date\nx,1\n")
    assert unpack(tmp_path/"mine", tmp_path/"out") == (tmp_path/"mine", [])

# ---- columns

PROSE = ["where is my card", "it has not come yet", "why was I charged twice"]

@pytest.mark.parametrize("columns, settings, expected", [
    (dict(text=PROSE, category=list("aba")), {}, ["text", "label"]),
    (dict(v1=list("aba"), v2=PROSE), {}, ["text", "label"]),
    (dict(v1=list("aba"), v2=PROSE, v3=list("123")), dict(text_column="v2", label_column="v1"), ["text", "label"]),
    (dict(height=list("123"), species=list("aba")), {}, ["height", "label"]),
    (dict(agreement=list("123"), species=list("aba")), {}, ["agreement", "label"]),
    (dict(text=PROSE, alice=list("aba"), bob=list("abb")), dict(label_column=["alice", "bob"]),
     ["text", "label", AGREEMENT]),
    (dict(text=PROSE, rater_1=list("aba"), rater_2=list("abb")), {}, ["text", "label", AGREEMENT]),
    (dict(path=["x.png", "y.png", "z.png"], label=list("abc"), worse_label=list("bca")),
     dict(label_column="worse_label"), ["path", "label"])])
def test_columns(tmp_path, columns, settings, expected):
    pd.DataFrame(columns).to_csv(tmp_path/"a.csv", index=False)
    csv, _ = named_items(tmp_path/"a.csv", tmp_path/"out", **settings)
    assert list(read(csv)) == expected
    if settings.get("label_column") == "worse_label": assert read(csv).label.tolist() == list("bca")

@pytest.mark.parametrize("columns, settings, sentence", [
    (dict(a=list("123"), b=list("xyz")), {}, "has the columns a, b; name the one with the labels in label_column"),
    (dict(category=list("123"), target=list("xyz"), n=list("123")), {}, "name the one with the labels"),
    (dict(title=PROSE, body=PROSE, label=list("aba")), {}, "name it in text_column"),
    (dict(text=PROSE, label=list("aba")), dict(text_column="txt"), "unknown text_column 'txt'; did you mean 'text'"),
    (dict(text=PROSE, label=list("aba")), dict(label_column="lable"), "did you mean 'label'"),
    (dict(text=PROSE, label=list("aba")), dict(text_column="label", label_column="label"), "cannot hold both"),
    (dict(text=PROSE, label=["a", "", "b"]), {}, "have no label; the first is in line 3")])
def test_columns_that_cannot_be_known(tmp_path, columns, settings, sentence):
    pd.DataFrame(columns).to_csv(tmp_path/"a.csv", index=False)
    with refused(sentence): named_items(tmp_path/"a.csv", tmp_path/"out", **settings)
    assert not (tmp_path/"out/items.csv").exists()

def test_what_is_read_anyway_stays(tmp_path):
    (tmp_path/"a.csv").write_text("path,label\nx.png,a\n")
    assert named_items(tmp_path/"a.csv", tmp_path/"out") == (tmp_path/"a.csv", [])
    assert named_items(tmp_path, tmp_path/"out") == (tmp_path, [])
    with refused("name columns of a table"): named_items(tmp_path, tmp_path/"out", label_column="y")
    assert not (tmp_path/"out").exists()

def test_a_column_called_agreement_is_a_value(tmp_path):
    pd.DataFrame(dict(agreement=list("123"), label=list("aba"))).to_csv(tmp_path/"a.csv", index=False)
    _, values, _ = list_rows(tmp_path/"a.csv")
    assert list(values) == ["agreement"]
