"""Texts as a data set: what is read from files, what is refused, and whole runs on real English (what packages say about their functions)."""
import json

import numpy as np
import pandas as pd
import pytest
import torch

import layouts
from layouts import docstrings
from conftest import papermill, tree
from noisykit.errors import sentence
from noisykit.data.source import load_dataset
from noisykit.evaluation import evaluate_run
from noisykit.networks import create_network
from noisykit.errors import Refused
from noisykit.run import run_method
from noisykit.data.texts import words

@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    "One csv, columns in the other order, a column more"
    d = tmp_path_factory.mktemp("docs")
    docstrings().assign(row=range(360))[["row", "label", "text"]].to_csv(d/"docs.csv", index=False)
    return d

def test_one_csv(folder):
    rows, s = docstrings(), load_dataset("text", folder, length=30)
    assert s.classes == ["numpy", "pandas", "torch"] and np.bincount(s.test_labels).tolist() == [24]*3 and np.bincount(s.labels).tolist() == [96]*3
    label = dict(zip(rows.text, rows.label))
    for part, y in ((s.train, s.labels), (s.test, s.test_labels)): assert [label[t] for t in part.texts] == [s.classes[c] for c in y]
    assert not set(s.train.texts) & set(s.test.texts) and (load_dataset("text", folder).test.texts == s.test.texts).all()
    known = {w for t in s.train.texts for w in words(t)}
    assert s.train.size == len(known) + 2 and s.train.shape == (s.train.size, 30)
    for t, x in zip(s.test.texts, s.test.tokens.tolist()): # unknown words, and the end of a text
        w = words(t)[:30]
        assert [v == 1 for v in x] == [u not in known for u in w] + [False]*(30 - len(w)) and x[len(w):] == [0]*(30 - len(w))
    few = load_dataset("text", folder, vocabulary=10, length=30)
    assert few.train.size == 12 and torch.equal(few.train.tokens, torch.where(s.train.tokens < 12, s.train.tokens, 1)) # the most frequent come first

def test_numbers_as_labels_and_two_files(tmp_path):
    pd.DataFrame(dict(label=[10, 2, 2, 10], text=list("abcd"))).to_csv(tmp_path/"train.csv", index=False)
    pd.DataFrame(dict(text=["d e"], label=[2])).to_csv(tmp_path/"test.csv", index=False)
    s = load_dataset("text", tmp_path, length=2)
    assert s.classes == ["2", "10"] and s.labels.tolist() == [1, 0, 0, 1] and s.test_labels.tolist() == [0] and s.test.tokens.tolist() == [[5, 1]]

@pytest.mark.parametrize("test", [None, "test", "val"])
def test_folders(tmp_path, test):
    for part in ("train", test) if test else ("",):
        for c in ("cat", "dog"):
            (d := tmp_path/part/c/"deep").mkdir(parents=True)
            for i in range(5): (d/f"{i}.txt").write_text(f"{c} {part} {i}", encoding="utf-8-sig")
            (d/"._0.txt").write_text("junk"); (d/"notes.md").write_text("junk")
    s = load_dataset("text", tmp_path, length=4)
    assert s.classes == ["cat", "dog"] and len(s.train) == (10 if test else 8) and len(s.test) == (10 if test else 2)
    assert all(t.startswith(s.classes[c]) for t, c in zip(s.train.texts, s.labels)) and (not test or all(test in t for t in s.test.texts))

BAD = {
    "no text column": ({"t.csv": "label,body\n1,a\n"}, "t.csv must have the columns text, label; it has label, body"),
    "no rows": ({"t.csv": "label,text\n"}, "t.csv has no rows"),
    "empty text": ({"t.csv": "label,text\n1,a\n2, \n"}, "t.csv has rows without a text (1); the first is row 1"),
    "empty label": ({"t.csv": "label,text\n,a\n2,b\n"}, "t.csv has rows without a label (1); the first is row 0"),
    "one class": ({"t.csv": "label,text\n1,a\n1,b\n"}, "holds 1 class of texts (1); two or more are needed"),
    "one text of a class": ({"t.csv": "label,text\n1,a\n1,b\n2,c\n"}, "class '2' has 1 text; two or more are needed"),
    "class of the test set alone": ({"train.csv": "label,text\n1,a\n2,b\n", "test.csv": "label,text\n3,a\n"}, "class '3' of the test set in"),
    "train without test": ({"train.csv": "label,text\n1,a\n", "dev.csv": "label,text\n1,a\n"}, "must hold train.csv and test.csv, or one csv; it holds dev.csv, train.csv"),
    "broken csv": ({"t.csv": 'label,text\n1,"a\n2,b\n'}, "t.csv cannot be read as csv"),
    "bytes": ({"t.csv": b"label,text\n1,\xff\n"}, "t.csv cannot be read as csv"),
    "nothing": ({}, "holds neither a csv nor sub-folders with .txt files"),
    "class folder without texts": ({"cat/1.txt": "a", "dog/1.md": "b"}, "dog holds no .txt files"),
    "empty file": ({"cat/1.txt": "a", "dog/1.txt": " "}, "1.txt is empty"),
    "bytes in a file": ({"cat/1.txt": b"\xff\xfe\xfa", "dog/1.txt": "a"}, "1.txt cannot be read as text"),
    "train/ alone": ({"train/cat/1.txt": "a"}, "has train/ but neither test/ nor val/"),
}

@pytest.mark.parametrize("name", BAD)
def test_refused(tmp_path, name):
    files, said = BAD[name]
    for k, v in files.items():
        (tmp_path/k).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path/k).write_bytes(v if isinstance(v, bytes) else v.encode())
    answer = sentence(load_dataset, "text", tmp_path)
    assert said in answer and "\n" not in answer

TEXT = dict(dataset="text", model="embedding_bag", noise="flip", noise_rate=0.3, probe_size=30, epochs=2, device="cpu", optimizer="adam", lr=0.02, batch_size=32)

@pytest.mark.parametrize("method", ["ce", "probe_only", "l2r"])
def test_runs(folder, tmp_path, method):
    run = run_method(method=method, data_dir=str(folder), run_dir=str(tmp_path/"run"), quiet=True, **TEXT)
    assert run.finished and run.metrics.test_accuracy.iloc[-1] > 0.45 and run.data["classes"] == ["numpy", "pandas", "torch"]
    if method == "l2r": assert run.samples("weight", -1).std() > 0

def test_engines_agree_on_texts(folder, tmp_path):
    jvp, higher = (run_method(method="l2r", engine=e, precision="float64", data_dir=str(folder), run_dir=str(tmp_path/e), quiet=True, **TEXT | dict(epochs=1, optimizer="sgd", lr=0.1)) for e in ("jvp", "higher"))
    assert abs(jvp.samples("weight", 1) - higher.samples("weight", 1)).max() < 1e-6 < jvp.samples("weight", 1).std()

def test_papermill_draws_the_texts(folder, tmp_path):
    done = papermill("run_method", tmp_path/"out.ipynb", method="l2r", data_dir=folder, run_dir=tmp_path/"run", **TEXT)
    assert done.returncode == 0, done.stderr[-3000:]
    assert {"best_fits", "worst_fits"} <= {p.stem for p in (tmp_path/"run/figures").glob("*.png")}
    outputs = [o for c in json.loads((tmp_path/"out.ipynb").read_text())["cells"] for o in c.get("outputs", [])]
    assert not [o for o in outputs if o["output_type"] == "error" or "Warning" in "".join(o.get("text", ""))]

@pytest.mark.parametrize("settings, said", [(dict(model="cnn"), "model 'cnn' cannot train on"), (dict(data_options=dict(tokenizer="nowhere")), "tokenizer folder 'nowhere' does not exist"),
                                            (dict(data_dir=None), "data set 'text' needs data_dir"), (dict(data_options=dict(length=0)), "data option length must be a whole number of at least 1; got 0")])
def test_a_run_that_cannot_be(folder, tmp_path, settings, said):
    with pytest.raises(Refused) as e: run_method(method="ce", run_dir=str(tmp_path/"run"), **TEXT | dict(data_dir=str(folder)) | settings)
    assert said in str(e.value) and "\n" not in str(e.value) and not (tmp_path/"run").exists()

def test_texts_for_a_network_that_reads_pictures(tmp_path):
    with pytest.raises(Refused, match="model 'embedding_bag' cannot train on"): run_method(method="ce", run_dir=str(tmp_path/"run"), **TEXT | dict(dataset="digits"))

# ---- Hugging Face

@pytest.fixture(scope="module")
def bert(folder, tmp_path_factory):
    pytest.importorskip("transformers")
    return layouts.bert(tmp_path_factory.mktemp("bert"), load_dataset("text", folder).train.texts)

def test_padding_is_swapped(folder, bert):
    import transformers as hf
    s = load_dataset("text", folder, length=24, tokenizer=str(bert))
    theirs = hf.AutoTokenizer.from_pretrained(bert)(s.train.texts.tolist(), padding="max_length", truncation=True, max_length=24, return_tensors="pt")
    there = theirs.attention_mask > 0
    assert s.train.size == len(hf.AutoTokenizer.from_pretrained(bert)) and ((s.train.tokens > 0) == there).all() and not there.all()
    swapped = {0: 1, 1: 0}
    assert (s.train.tokens == theirs.input_ids.apply_(lambda v: swapped.get(v, v))).all()
    theirs.input_ids.apply_(lambda v: swapped.get(v, v))
    net, body = create_network("encoder", 3, s.train.size, bert), hf.BertModel.from_pretrained(bert).eval()
    with torch.no_grad(): assert torch.allclose(net.train()(s.train.tokens[:20]), net.fc(body(**{k: v[:20] for k, v in theirs.items()}).last_hidden_state[:, 0]), atol=1e-5)

def test_a_run_of_an_encoder(folder, bert, tmp_path):
    settings = TEXT | dict(model="encoder", weights=str(bert), lr=0.003, epochs=4, noise="none", noise_rate=None, data_options=dict(tokenizer=str(bert), length=16), data_dir=str(folder))
    run = run_method(method="ce", run_dir=str(tmp_path/"run"), quiet=True, **settings)
    assert run.finished and run.metrics.train_loss.iloc[-1] < 0.95*run.metrics.train_loss.iloc[0]
    again = create_network("encoder", 3, 305, run.folder/"checkpoint.pt") # the file alone says what to build
    assert torch.load(run.folder/"checkpoint.pt", weights_only=True)["net"].keys() == again.state_dict().keys()
    last = run.metrics.iloc[-1]
    assert evaluate_run(run.folder, device="cpu").loss[0] == pytest.approx(last.test_loss, rel=1e-6)
    with pytest.raises(Refused, match="reads its own tokenizer's 305 tokens, the data have [0-9]+: set data option tokenizer"):
        run_method(method="ce", run_dir=str(tmp_path/"other"), quiet=True, **settings | dict(data_options=None))

def test_an_encoder_that_is_not_whole(bert, tmp_path):
    from safetensors.torch import load_file, save_file
    for p in bert.iterdir(): (tmp_path/p.name).write_bytes(p.read_bytes())
    state = load_file(tmp_path/"model.safetensors")
    gone = next(k for k in state if "attention" in k)
    save_file({k: v for k, v in state.items() if k != gone}, tmp_path/"model.safetensors", metadata={"format": "pt"})
    before = tree(tmp_path)
    assert f"lacks 1 weights; the first is {gone}" in sentence(create_network, "encoder", 3, 305, tmp_path)
    (tmp_path/"config.json").write_text("{")
    assert "holds no encoder that can be read" in sentence(create_network, "encoder", 3, 305, tmp_path)
    assert len(before) == len(tree(tmp_path))

def test_without_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    assert sentence(create_network, "encoder", 3) == "a Hugging Face encoder or tokenizer needs an extra: pip install 'noisykit[text]'"
