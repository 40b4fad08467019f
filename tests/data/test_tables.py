"""Tables, noise files and texts as they are in the wild: read right, or refused in one sentence; what was guessed is
said. The rows of the page are in tests/support/wild.py."""
import os
import pickle
import subprocess
import sys
import unicodedata
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

import wild
from noisykit.assemble import load_data
from noisykit.audit.look import look_for_images
from noisykit.data.noise import load_noise, save_noise
from noisykit.data.source import load_dataset
from noisykit.data.split import read_probe, read_score_table
from noisykit.data.tables import image_list, read_image_list, read_table, records
from noisykit.data.texts import words
from noisykit.errors import sentence
from noisykit.resolve import resolve
from noisykit.run import run_method
from refusals import refused
from shared import one_thread

def by_what(section): return pytest.mark.parametrize("row", wild.TABLE[section], ids=lambda row: row.what)

# ---- tables

@by_what("Tables")
def test_texts_of_a_table(tmp_path, row):
    (tmp_path/"list.csv").write_bytes(row.holds)
    if row.refused:
        assert row.says in sentence(load_dataset, "text", tmp_path)
        return
    source = load_dataset("text", tmp_path)
    assert row.says in source.found
    assert len(source.train) + len(source.test) == 4
    assert not any(text.startswith(" ") for text in source.train.texts)

@by_what("Tables")
def test_images_of_a_table(tmp_path, row):
    "The same cells name images: what is said is the same, and the audit says it too"
    code = "utf-16" if row.holds.startswith(b"\xff\xfe") else "cp1252" if b"\xfc" in row.holds else "utf-8"
    (tmp_path/"list.csv").write_bytes(row.holds.decode(code).replace("text", "path", 1).encode(code))
    def as_texts(said): return said.replace("images", "texts").replace("path, label", "text, label")
    if row.refused:
        assert row.says in as_texts(sentence(read_image_list, tmp_path/"list.csv"))
        return
    table = read_table(tmp_path/"list.csv", ["path", "label"])
    wild.add(tmp_path, table.rows.path.str.strip())
    files, labels, found = read_image_list(tmp_path/"list.csv")
    assert len(files) == len(labels) == 4
    if " a text" not in row.says: assert row.says in as_texts(found.report())
    images, report = look_for_images(tmp_path/"list.csv")
    assert report == found.report()
    assert images.label.tolist() == labels

def test_every_encoding_separator_and_line_end(tmp_path):
    rows = [["text", "label"], ["Grüße, \"Welt\"", "ä"], ["zwei\nZeilen; ja", "ä"], ["drei", "ö"], ["vier\t", "ö"]]
    for code in ("utf-8", "utf-8-sig", "utf-16", "cp1252"):
        for separator in ",;\t|":
            for end in ("\n", "\r\n", "\r"):
                text = end.join(separator.join('"' + cell.replace('"', '""') + '"' for cell in row) for row in rows)
                (tmp_path/"t.csv").write_bytes(text.encode(code))
                table = read_table(tmp_path/"t.csv", ["text", "label"])
                assert table.rows.values.tolist() == rows[1:]
                assert len(table.questions) == (code == "cp1252")

def test_lines_are_those_of_an_editor():
    assert [line for line, _ in records('a,b\r\n\r\n"1\r\n2",3\r\n4,5')] == [1, 3, 5]

def test_parts_of_texts(tmp_path):
    "Spellings of train and test as folders have them; what lies beside is named"
    files = {"Train.tsv": "text\tlabel\na b\t1\nc d\t2.0\n", "dev.csv": "text,label\na b,1.0\n", "ids.csv": "id\n1\n"}
    for name, content in files.items(): (tmp_path/name).write_text(content)
    (tmp_path/"pictures").mkdir()
    source = load_dataset("text", tmp_path)
    assert source.classes == ["1", "2"]
    assert (len(source.train), len(source.test)) == (2, 1)
    assert source.found.splitlines()[1:] == [
        "  2 texts in 2 classes: 1 1, 2 1",
        "  val: 1 texts in 1 classes: 1 1",
        "  Train.tsv: fields are separated by tabs",
        "  Train.tsv: all labels are whole numbers, so '2.0' is taken as '2'",
        "  left out, beside the tables that are used: 2 (ids.csv, pictures/)"]
    (tmp_path/"test.csv").write_text("id,text\n1,a b\n")
    with refused("test.csv must have the columns text, label; it has id, text: take the file out"):
        load_dataset("text", tmp_path)

def test_paths_of_another_system(tmp_path):
    wild.add(tmp_path, ["a/1.png", "a/2.png", f"{wild.NFD}/3.png", " 4.png"])
    rows = ["a\\1.png,x", " a/2.png ,x", f"{wild.NFC}/3.png,y", " 4.png,y"]
    (tmp_path/"list.csv").write_text("\n".join(["path,label", *rows]))
    files, _, _ = read_image_list(tmp_path/"list.csv")
    assert [os.path.relpath(file, tmp_path) for file in files] == ["a/1.png", "a/2.png", f"{wild.NFD}/3.png", " 4.png"]

def test_what_the_kit_writes_is_read_as_it_was(tmp_path):
    "Folders called 1.0 and '1 ' stay what they are on the way through a list"
    wild.add(tmp_path, [f"{k}.png" for k in range(4)])
    table = pd.DataFrame(dict(path=[f"{k}.png" for k in range(4)], label=["1.0", "1 ", "1", "2.0"]))
    (tmp_path/"list.csv").write_text(image_list(table))
    assert read_image_list(tmp_path/"list.csv")[1] == table.label.tolist()

def test_probe_and_scores_as_a_spreadsheet_writes_them(tmp_path):
    (tmp_path/"probe.csv").write_bytes("index\r5\r7\r".encode("utf-16"))
    assert read_probe(tmp_path/"probe.csv", load_dataset("digits")).tolist() == [5, 7]
    (tmp_path/"scores.csv").write_bytes(b"\xef\xbb\xbfIndex;Score;\r\n0;.5;\r\n1;;\r\n")
    assert read_score_table(tmp_path/"scores.csv", 2).tolist()[0] == .5
    (tmp_path/"scores.csv").write_text("index,score\na.png,.5\n")
    with refused("must have a whole number as index and a number as score in every row"):
        read_score_table(tmp_path/"scores.csv", 2)

CLASSES = """
import sys
from noisykit.data.source import load_dataset
for name in ("text", "imagelist"):
    source = load_dataset(name, sys.argv[1] + {"text": "", "imagelist": "/list/images.csv"}[name],
                          **(dict(image_size=16) if name == "imagelist" else {}))
    print(source.classes, source.labels.tolist())
    if name == "text": print(source.train.tokens.tolist())
"""

def test_no_order_depends_on_hashing(tmp_path):
    "Text labels, nan among them, in two processes with other hashes"
    labels = ["nan", "b", "10", "2", "A", "NA", "é"]*4
    wild.add(tmp_path/"list", [f"{k}.png" for k in range(28)])
    table = pd.DataFrame(dict(path=[f"{k}.png" for k in range(28)], label=labels))
    table.to_csv(tmp_path/"list/images.csv", index=False)
    table.rename(columns=dict(path="text")).to_csv(tmp_path/"texts.csv", index=False)
    def run(seed):
        done = subprocess.run([sys.executable, "-c", CLASSES, str(tmp_path)], capture_output=True, text=True,
                              env=os.environ | dict(PYTHONHASHSEED=seed))
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout
    first = run("1")
    assert first == run("2")
    assert first.count("['2', '10', 'A', 'NA', 'b', 'nan', 'é']") == 2

# ---- noise files

OWN = np.arange(40) % 4
GIVEN = np.where(np.arange(40) < 10, (OWN + 1) % 4, OWN)
NAMES = ["cat", "dog", "hen", "owl"]
PATHS = [f"{'ab'[k//20]}/{k % 20}.png" for k in range(40)]
PARTS = dict(training=(None, OWN), test=(None, OWN[:12]))
SOURCE = SimpleNamespace(drawn=None, classes=NAMES, files=PATHS, superclass=[0, 0, 1, 1], parts=PARTS)
VALUES = {
    "own": OWN, "given": GIVEN, "column": GIVEN[:, None], "hot": np.eye(4)[GIVEN], "floats": GIVEN.astype(float),
    "nan": np.where(np.arange(40) == 3, np.nan, GIVEN), "from one": OWN + 1, "coarse": OWN//2, "short": GIVEN[:39],
    "test": GIVEN[:12], "objects": np.array(dict(label=GIVEN), object), "names": np.array(NAMES)[GIVEN],
    "cow": np.where(np.arange(40) == 3, "cow", np.array(NAMES)[GIVEN]), "file": PATHS,
}

def write(folder, kind, holds):
    "A noise file of `wild.TABLE`, and the column that is asked for"
    def value(name, what):
        if what == "moved": return PATHS[::-1] if name == "file" else (OWN + 1) % 4
        return VALUES[what] if isinstance(what, str) else what
    path = folder/f"noise.{kind.strip(';')}"
    held = {name: value(name, what) for name, what in holds.items()} if isinstance(holds, dict) else VALUES[holds]
    if kind == "npy": np.save(path, held, allow_pickle=True)
    elif kind == "npz": np.savez(path, **held)
    elif kind == "pt": torch.save(held, path)
    else: pd.DataFrame(held).to_csv(path, index=False, sep=";" if ";" in kind else ",")
    return path, "noisy_coarse_label" if "noisy_coarse_label" in holds else None

@by_what("Noise files")
def test_noise_files(tmp_path, row):
    path, column = write(tmp_path, *row.holds)
    if row.refused:
        with refused(text=row.says): load_noise(path, OWN, 4, column, SOURCE)
        return
    noise = load_noise(path, OWN, 4, column, SOURCE)
    assert (noise.given == GIVEN).all()
    assert row.says in noise.found

PEOPLE = dict(clean_label=0, aggre_label=9, random_label1=17, random_label2=18, random_label3=18, worse_label=40)

@pytest.mark.parametrize("column", PEOPLE)
def test_labels_by_people_in_cifar_n_s_layout(tmp_path, column):
    "Six columns beside CIFAR-10's batches: as many wrong labels as were written, out of 100"
    own = np.arange(100) % 10
    for name in [*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]:
        rows = own[:20] if name.startswith("data") else own
        batch = dict(data=np.zeros((len(rows), 3072), np.uint8), labels=rows.tolist())
        (tmp_path/name).write_bytes(pickle.dumps(batch))
    own = np.tile(own[:20], 5)
    held = {name: np.where(np.arange(100) < wrong, (own + 1) % 10, own) for name, wrong in PEOPLE.items()}
    torch.save(held, tmp_path/"CIFAR-10_human.pt")
    config, _ = resolve(method="ce", dataset="cifar10", data_dir=tmp_path, noise_file=tmp_path/"CIFAR-10_human.pt",
                        noise_options=dict(column=column), probe_size=0, device="cpu")
    data = load_data(config)
    assert data.noise.realised_rate == PEOPLE[column]/100
    assert f"{PEOPLE[column]}.000% of them wrong" in data.found
    held["clean_label"] = held["clean_label"][::-1].copy()
    torch.save(held, tmp_path/"CIFAR-10_human.pt")
    if column == "clean_label": return
    with refused("its column clean_label differs from the true labels at 100 of 100 samples"): load_data(config)

def test_a_csv_that_was_sorted_and_written_by_pandas(tmp_path):
    "Its index is a column without a name; a first column of other values is none"
    pd.DataFrame(dict(label_noisy=GIVEN)).sort_values("label_noisy").to_csv(tmp_path/"noise.csv")
    with refused("its column Unnamed: 0 says 3 in row 0, where 0 is expected"):
        load_noise(tmp_path/"noise.csv", OWN, 4)
    pd.DataFrame(dict(label_noisy=GIVEN), index=np.arange(40) + 100).to_csv(tmp_path/"noise.csv")
    assert "compared" not in load_noise(tmp_path/"noise.csv", OWN, 4).found

def test_columns_of_an_archive(tmp_path):
    np.savez(tmp_path/"noise.npz", clean_label=OWN, worse_label=GIVEN)
    noise = load_noise(tmp_path/"noise.npz", OWN, 4, "worse_label")
    assert (noise.given == GIVEN).all() and "compared row by row: clean_label" in noise.found
    np.savez(tmp_path/"one.npz", GIVEN)
    assert (load_noise(tmp_path/"one.npz", OWN, 4).given == GIVEN).all()

def test_paths_from_another_machine(tmp_path):
    for name in ("/data/mine/{}", "C:\\data\\{}", "./{}"):
        names = [name.format(path) for path in PATHS]
        pd.DataFrame(dict(file=names, label_noisy=GIVEN)).to_csv(tmp_path/"noise.csv", index=False)
        assert "compared row by row: file" in load_noise(tmp_path/"noise.csv", OWN, 4, source=SOURCE).found

def test_a_run_prints_and_keeps_what_was_found(tmp_path, capsys):
    source = load_dataset("digits")
    np.save(tmp_path/"noise.npy", np.roll(source.labels, 1))
    with one_thread():
        run = run_method(method="ce", dataset="digits", noise_file=tmp_path/"noise.npy", probe_size=0, epochs=1,
                         device="cpu", run_dir=tmp_path/"run")
    said = capsys.readouterr().out
    assert run.data["found"] in said
    assert "question: are the labels in the order of the training set? No column says so" in run.data["found"]

def test_noise_that_the_kit_writes_for_files(tmp_path):
    "Repaired labels carry index and file; sorted by anything else they are refused"
    noise = load_noise(*write(tmp_path, "npy", "given")[:1], OWN, 4)
    save_noise(noise, tmp_path/"kit.csv")
    table = pd.read_csv(tmp_path/"kit.csv").assign(file=PATHS, index=range(40))
    table.to_csv(tmp_path/"kit.csv", index=False)
    assert "compared row by row: index, file, label" in load_noise(tmp_path/"kit.csv", OWN, 4, source=SOURCE).found
    table.sort_values("label", kind="stable").to_csv(tmp_path/"kit.csv", index=False)
    with refused("is in another order"): load_noise(tmp_path/"kit.csv", OWN, 4, source=SOURCE)

# ---- texts

@by_what("Texts")
def test_words(row): assert " | ".join(words(row.holds)) == row.says

PLAIN = {
    "Isn't it: re-read, 2 x 1,000.5 o'clock?": ["isn't", "it", "re", "read", "2", "x", "1", "000", "5", "o'clock"],
    "snake_case __init__ 3rd naïve — “quoted” it’s": ["snake_case", "__init__", "3rd", "naïve", "quoted", "it’s"],
    "100% of e-mails@example.com; C++ & C#": ["100", "of", "e", "mails", "example", "com", "c", "c"],
}

@pytest.mark.parametrize("text", PLAIN)
def test_plain_english_is_cut_as_it_always_was(text): assert words(text) == PLAIN[text]

def test_no_letter_is_thrown_away():
    for row in wild.TABLE["Texts"]:
        letters = set(filter(str.isalpha, unicodedata.normalize("NFC", row.holds.lower())))
        assert letters <= set("".join(words(row.holds)))

@pytest.mark.parametrize("options, part", [(dict(), "test"), (dict(vocabulary=1), "training")])
def test_unknown_words_are_said(tmp_path, options, part):
    (tmp_path/"train.csv").write_text("text,label\nred apple here,1\ngreen pear there,2\n")
    (tmp_path/"test.csv").write_text("text,label\nroter Apfel hier,1\n!!!,2\n")
    found = load_dataset("text", tmp_path, **options).found
    assert f"are the {part} texts of another kind or language? " in found
    assert "should texts without a word be used? 1 test texts are such, the first is '!!!'" in found

def test_class_files_in_an_old_encoding(tmp_path):
    for label in "ab":
        for k in range(2):
            (tmp_path/label).mkdir(exist_ok=True)
            (tmp_path/label/f"{k}.txt").write_bytes(f"Grüße {k}".encode("cp1252"))
    source = load_dataset("text", tmp_path)
    assert "grüße" in words(source.train.texts[0])
    assert "is 'Grüße' in line 1 spelled right?" in source.found and "(4 such files)" in source.found

def test_a_noise_file_of_all_serves_some(tmp_path):
    "With train_size and a long tail: the rows of the samples in use, and no other order"
    whole = load_dataset("digits")
    given = (whole.labels + (np.arange(len(whole.labels)) % 3 == 0)) % 10
    rows = pd.DataFrame(dict(index=range(len(given)), label_noisy=given, label=whole.labels))
    rows.to_csv(tmp_path/"all.csv", index=False)
    some = load_dataset("digits", train_size=300, imbalance=5)
    noise = load_noise(tmp_path/"all.csv", some.labels, 10, source=some)
    assert (whole.labels[some.drawn] == some.labels).all() and (noise.given == given[some.drawn]).all()
    assert f"the rows of the {len(some.labels)} samples in use, of {len(given):,}" in noise.found
    rows[::-1].to_csv(tmp_path/"turned.csv", index=False)
    with refused("is in another order or for another data set"):
        load_noise(tmp_path/"turned.csv", some.labels, 10, source=some)
