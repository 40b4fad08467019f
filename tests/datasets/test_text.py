"""Texts as a data set: what is read, what is refused, and whole runs. The texts are real English: what packages say
about their functions."""
import sys

import numpy as np
import pandas as pd
import pytest
import torch

import layouts
from conftest import papermill, tree
from layouts import docstrings
from noisykit.data.source import load_dataset
from noisykit.data.texts import words
from noisykit.errors import Refused, sentence
from noisykit.evaluation import evaluate_run
from noisykit.networks import create_network
from noisykit.run import run_method
from notebooks import outputs
from refusals import refused

@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    "One csv, columns in the other order, a column more"
    folder = tmp_path_factory.mktemp("docs")
    table = docstrings().assign(row=range(360))
    table[["row", "label", "text"]].to_csv(folder/"docs.csv", index=False)
    return folder

# ---- what is read

def test_one_csv(folder):
    "Texts and labels belong together, a fifth of each class is held out, and always the same"
    table, data = docstrings(), load_dataset("text", folder, length=30)
    assert data.classes == ["numpy", "pandas", "torch"]
    assert np.bincount(data.test_labels).tolist() == [24]*3
    assert np.bincount(data.labels).tolist() == [96]*3
    label_of = dict(zip(table.text, table.label))
    for part, labels in ((data.train, data.labels), (data.test, data.test_labels)):
        assert [label_of[text] for text in part.texts] == [data.classes[label] for label in labels]
    assert not set(data.train.texts) & set(data.test.texts)
    assert (load_dataset("text", folder).test.texts == data.test.texts).all()

def test_tokens(folder):
    "1 stands for a word that the training texts do not have, 0 for what comes after the end of a text"
    data = load_dataset("text", folder, length=30)
    known = set()
    for text in data.train.texts: known |= set(words(text))
    assert data.train.size == len(known) + 2
    assert data.train.shape == (data.train.size, 30)
    for text, tokens in zip(data.test.texts, data.test.tokens.tolist()):
        first = words(text)[:30]
        after = 30 - len(first)
        assert [token == 1 for token in tokens] == [word not in known for word in first] + [False]*after
        assert tokens[len(first):] == [0]*after

def test_a_small_vocabulary_has_the_most_frequent_words(folder):
    data, few = load_dataset("text", folder, length=30), load_dataset("text", folder, vocabulary=10, length=30)
    assert few.train.size == 12
    assert torch.equal(few.train.tokens, torch.where(data.train.tokens < 12, data.train.tokens, 1))

def test_numbers_as_labels_and_two_files(tmp_path):
    pd.DataFrame(dict(label=[10, 2, 2, 10], text=list("abcd"))).to_csv(tmp_path/"train.csv", index=False)
    pd.DataFrame(dict(text=["d e"], label=[2])).to_csv(tmp_path/"test.csv", index=False)
    data = load_dataset("text", tmp_path, length=2)
    assert data.classes == ["2", "10"]
    assert data.labels.tolist() == [1, 0, 0, 1]
    assert data.test_labels.tolist() == [0]
    assert data.test.tokens.tolist() == [[5, 1]]

@pytest.mark.parametrize("test", [None, "test", "val"])
def test_folders(tmp_path, test):
    "A folder a class, with texts further down and files that are none; with a test set or without"
    for part in ("train", test) if test else ("",):
        for label in ("cat", "dog"):
            deep = tmp_path/part/label/"deep"
            deep.mkdir(parents=True)
            for i in range(5): (deep/f"{i}.txt").write_text(f"{label} {part} {i}", encoding="utf-8-sig")
            (deep/"._0.txt").write_text("junk")
            (deep/"notes.md").write_text("junk")
    data = load_dataset("text", tmp_path, length=4)
    assert data.classes == ["cat", "dog"]
    assert len(data.train) == (10 if test else 8)
    assert len(data.test) == (10 if test else 2)
    assert all(text.startswith(data.classes[label]) for text, label in zip(data.train.texts, data.labels))
    if test: assert all(test in text for text in data.test.texts)

# ---- what is refused

# name -> files and what they hold, what is said
BAD = {
    "no text column": ({"t.csv": "label,body\n1,a\n"}, "t.csv must have the columns text, label; it has label, body"),
    "no rows": ({"t.csv": "label,text\n"}, "t.csv has no rows"),
    "empty text": ({"t.csv": "label,text\n1,a\n2, \n"}, "t.csv have no text; the first is in line 3"),
    "empty label": ({"t.csv": "label,text\n,a\n2,b\n"}, "t.csv have no label; the first is in line 2"),
    "one class": ({"t.csv": "label,text\n1,a\n1,b\n"}, "holds 1 class of texts (1); two or more are needed"),
    "one text of a class": ({"t.csv": "label,text\n1,a\n1,b\n2,c\n"},
                            "class '2' has 1 text; two or more are needed"),
    "class of the test set alone": ({"train.csv": "label,text\n1,a\n2,b\n", "test.csv": "label,text\n3,a\n"},
                                    "class '3' of the test set in"),
    "train without test": ({"train.csv": "label,text\n1,a\n", "more.csv": "label,text\n1,a\n"},
                           "must hold train.csv and test.csv, or one csv; it holds more.csv, train.csv"),
    "broken csv": ({"t.csv": 'label,text\n1,"a\n2,b\n'}, "t.csv cannot be read as csv"),
    "bytes": ({"t.csv": b"label,text\n1,\x81\n"}, "t.csv cannot be read as csv"),
    "nothing": ({}, "holds neither a csv nor sub-folders with .txt files"),
    "class folder without texts": ({"cat/1.txt": "a", "dog/1.md": "b"}, "dog holds no .txt files"),
    "empty file": ({"cat/1.txt": "a", "dog/1.txt": " "}, "1.txt is empty"),
    "bytes in a file": ({"cat/1.txt": b"\xff\xfe\xfa", "dog/1.txt": "a"}, "1.txt cannot be read as text"),
    "train/ alone": ({"train/cat/1.txt": "a"}, "has train/ but neither test/ nor val/"),
}

@pytest.mark.parametrize("name", BAD)
def test_wrong_files_are_refused(tmp_path, name):
    files, said = BAD[name]
    for place, content in files.items():
        path = tmp_path/place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with refused(text=said): load_dataset("text", tmp_path)

TEXT = dict(dataset="text", model="embedding_bag", noise="flip", noise_rate=0.3, probe_size=30, epochs=2,
            device="cpu", optimizer="adam", lr=0.02, batch_size=32)

WRONG_SETTINGS = [
    (dict(model="cnn"), "model 'cnn' cannot train on"),
    (dict(data_options=dict(tokenizer="nowhere")), "tokenizer folder 'nowhere' does not exist"),
    (dict(data_dir=None), "data set 'text' needs data_dir"),
    (dict(data_options=dict(length=0)), "data option length must be a whole number of at least 1; got 0"),
]

@pytest.mark.parametrize("settings, said", WRONG_SETTINGS)
def test_a_run_that_cannot_be(folder, tmp_path, settings, said):
    with refused(text=said, kinds=Refused):
        run_method(method="ce", run_dir=str(tmp_path/"run"), **TEXT | dict(data_dir=str(folder)) | settings)
    assert not (tmp_path/"run").exists()

def test_pictures_for_a_network_that_reads_texts(tmp_path):
    with refused("model 'embedding_bag' cannot train on", kinds=Refused):
        run_method(method="ce", run_dir=str(tmp_path/"run"), **TEXT | dict(dataset="digits"))

# ---- runs

@pytest.mark.parametrize("method", ["ce", "probe_only", "l2r"])
def test_runs(folder, tmp_path, method):
    run = run_method(method=method, data_dir=str(folder), run_dir=str(tmp_path/"run"), quiet=True, **TEXT)
    assert run.finished
    assert run.metrics.test_accuracy.iloc[-1] > 0.45
    assert run.data["classes"] == ["numpy", "pandas", "torch"]
    if method == "l2r": assert run.samples("weight", -1).std() > 0

def test_engines_agree_on_texts(folder, tmp_path):
    settings = TEXT | dict(epochs=1, optimizer="sgd", lr=0.1, precision="float64", data_dir=str(folder))
    def weights_of(engine):
        run = run_method(method="l2r", engine=engine, run_dir=str(tmp_path/engine), quiet=True, **settings)
        return run.samples("weight", 1)
    jvp, higher = weights_of("jvp"), weights_of("higher")
    assert abs(jvp - higher).max() < 1e-6 < jvp.std()

def test_the_notebook_draws_the_texts(folder, tmp_path):
    done = papermill("run_method", tmp_path/"out.ipynb", method="l2r", data_dir=folder, run_dir=tmp_path/"run", **TEXT)
    assert done.returncode == 0, done.stderr[-3000:]
    assert {"best_fits", "worst_fits"} <= {path.stem for path in (tmp_path/"run/figures").glob("*.png")}
    for output in outputs(tmp_path/"out.ipynb"):
        assert output["output_type"] != "error"
        assert "Warning" not in "".join(output.get("text", ""))

# ---- Hugging Face

@pytest.fixture(scope="module")
def bert(folder, tmp_path_factory):
    pytest.importorskip("transformers")
    return layouts.bert(tmp_path_factory.mktemp("bert"), load_dataset("text", folder).train.texts)

def test_padding_is_swapped(folder, bert):
    "Padding is 0 here, and 1 in this tokenizer; the encoder gets its own numbers again"
    import transformers as hf
    data = load_dataset("text", folder, length=24, tokenizer=str(bert))
    tokenizer = hf.AutoTokenizer.from_pretrained(bert)
    theirs = tokenizer(data.train.texts.tolist(), padding="max_length", truncation=True, max_length=24,
                       return_tensors="pt")
    there = theirs.attention_mask > 0
    assert data.train.size == len(tokenizer)
    assert ((data.train.tokens > 0) == there).all()
    assert not there.all()
    def swap(token): return {0: 1, 1: 0}.get(token, token)
    assert (data.train.tokens == theirs.input_ids.apply_(swap)).all()
    theirs.input_ids.apply_(swap)
    net, body = create_network("encoder", 3, data.train.size, bert), hf.BertModel.from_pretrained(bert).eval()
    first = {name: values[:20] for name, values in theirs.items()}
    with torch.no_grad():
        ours = net.train()(data.train.tokens[:20])
        assert torch.allclose(ours, net.fc(body(**first).last_hidden_state[:, 0]), atol=1e-5)

def test_a_run_of_an_encoder(folder, bert, tmp_path):
    settings = TEXT | dict(model="encoder", weights=str(bert), lr=0.003, epochs=4, noise="none", noise_rate=None,
                           data_options=dict(tokenizer=str(bert), length=16), data_dir=str(folder))
    run = run_method(method="ce", run_dir=str(tmp_path/"run"), quiet=True, **settings)
    assert run.finished
    assert run.metrics.train_loss.iloc[-1] < 0.95*run.metrics.train_loss.iloc[0]
    again = create_network("encoder", 3, 305, run.folder/"checkpoint.pt")   # the file alone says what to build
    saved = torch.load(run.folder/"checkpoint.pt", weights_only=True)["net"]
    assert saved.keys() == again.state_dict().keys()
    last = run.metrics.iloc[-1]
    assert evaluate_run(run.folder, device="cpu").loss[0] == pytest.approx(last.test_loss, rel=1e-6)
    said = "reads its own tokenizer's 305 tokens, the data have [0-9]+: set data option tokenizer"
    with refused(said, kinds=Refused):
        run_method(method="ce", run_dir=str(tmp_path/"other"), quiet=True, **settings | dict(data_options=None))

def test_an_encoder_that_is_not_whole(bert, tmp_path):
    from safetensors.torch import load_file, save_file
    for path in bert.iterdir(): (tmp_path/path.name).write_bytes(path.read_bytes())
    state = load_file(tmp_path/"model.safetensors")
    gone = next(name for name in state if "attention" in name)
    del state[gone]
    save_file(state, tmp_path/"model.safetensors", metadata={"format": "pt"})
    before = tree(tmp_path)
    assert f"lacks 1 weights; the first is {gone}" in sentence(create_network, "encoder", 3, 305, tmp_path)
    (tmp_path/"config.json").write_text("{")
    assert "holds no encoder that can be read" in sentence(create_network, "encoder", 3, 305, tmp_path)
    assert len(before) == len(tree(tmp_path))

def test_without_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    said = "a Hugging Face encoder or tokenizer needs an extra: pip install 'noisykit[text]'"
    assert sentence(create_network, "encoder", 3) == said
