"""What files may look like: each kind of input, what becomes of it, and what is said. The page nbs/data/files.ipynb
shows this table (`python tests/support/wild.py` writes it there), and the tests make every row and compare.

Also the folder of a practitioner: everything at once."""
import json
import os
import sys
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

import rasters

PAGE = Path(__file__).resolve().parents[2]/"nbs/data/files.ipynb"

@dataclass
class Row:
    "A kind of input"
    what: str # for the page
    becomes: str # of it, for the page
    says: str = "" # what is printed, or a part of it
    paths: tuple = () # added to a folder with classes a and b: 'c/1.png'; 'c/' is a folder; 'c -> a' a link
    refused: bool = False # whether `says` is the message of an error
    alone: bool = False # nothing else is in the folder
    holds: object = "" # the content of a file, as text, bytes or what the tests of the section make of it

NFC, NFD = (unicodedata.normalize(form, "Tüten") for form in ("NFC", "NFD"))

def table(*rows, heading="text,label", end="\n", code="utf-8"):
    "A csv as bytes"
    return end.join([heading, *rows, ""]).encode(code)

MORE = "more,b", "and more,b" # two rows that nothing is wrong with

# section of the page -> rows; those of Folders are made in tests/data/test_folders.py, those of Pictures in
# test_pixels.py, the others in test_tables.py
TABLE = {
    "Folders": [
        Row("numbers as class names", "in the order of their values, 2 before 10", "in 4 classes: 2 1, 10 1, a 3, b 3",
            ("10/1.png", "2/1.png")),
        Row("hidden files and folders, `.ipynb_checkpoints`, `__MACOSX`, `._1.png`, `Thumbs.db`, `desktop.ini`",
            "do not count", "ignored, hidden: 5 (",
            (".ipynb_checkpoints/1.png", "__MACOSX/a/1.png", "a/._0.png", "b/Thumbs.db", "desktop.ini")),
        Row("pictures with any ending that Pillow reads: `.JPG`, `.jfif`, `.gif`, `.webp`, `.avif`, `.tif` ...", "used",
            "in 3 classes: a 3, b 3, c 4", ("c/1.JPG", "c/2.jfif", "c/3.gif", "c/4.webp")),
        Row("files of other kinds: `.heic`, raw, `.txt`, no ending", "left out and named",
            "left out, .heic (a kind of file that is not read): 2 (a/5.heic, a/6.HEIC)",
            ("a/5.heic", "a/6.HEIC", "b/IMG_0001")),
        Row("a class of which nothing is left", "an error",
            "c holds no images that can be used, but 2 .heic (a kind of file that is not read)",
            ("c/1.heic", "c/2.heic"), True),
        Row("an empty class folder", "no class; a question",
            "class folder 'c' is empty: should it hold images?", ("c/",)),
        Row("folders inside a class folder", "their files belong to the class", "a 4, b 3", ("a/more/x/4.png",)),
        Row("images beside the class folders", "left out, named; a question",
            "left out, beside the class folders, so it has no label: 2 (1.png, 2.png)", ("1.png", "2.png")),
        Row("`Bag` beside `bag`", "two classes; a question",
            "are 'Bag' and 'bag' one class? They differ only in upper and lower case", ("Bag/1.png", "bag/1.png")),
        Row("a space at the end of a name", "part of the name; a question",
            "is the space at an end of class 'c ' meant?", ("c /1.png",)),
        Row("one name stored in two ways (Unicode NFC and NFD)", "two classes; a question",
            "one class? They differ only in how accented letters are stored", (f"{NFC}/1.png", f"{NFD}/1.png")),
        Row("a folder that is called like an image", "a class; a question",
            "is 'c.jpg', a folder that is called like a file, a class?", ("c.jpg/1.png",)),
        Row("a class name that is not valid UTF-8, or holds a line break", "an error",
            "its name holds a line break or another control character: rename it", ("c\nd/1.png",), True),
        Row("a file name of that kind", "left out and named", "left out, its name is not valid UTF-8: rename it: 1 (",
            (os.fsdecode(b"a/\xff.png"),)),
        Row("a link to a folder", "followed, once; a circle is named",
            "left out, a link to a folder that is looked at anyway: 2 (", ("a/back -> ..", "c -> b")),
        Row("a link to nothing", "left out and named",
            "left out, a link to nothing: 1 (a/9.png)", ("a/9.png -> gone",)),
        Row("the folder of a run or an audit, or a folder of such", "left out and named",
            "left out, a run or an audit, which is no class: 2 (run, runs/ce)",
            ("run/config.yaml", "run/labels.csv", "run/pictures/1.png", "runs/ce/config.yaml", "runs/ce/labels.csv",
             "runs/out.ipynb")),
        Row("`train`, `valid`, `test` (also `Train`, `training`, `testing`, `val`, `validation`) with class folders",
            "imagefolder: training and test sets; audit: an error that names the path to give",
            "test: 2 images in 2 classes",
            ("Train/a/1.png", "Train/b/2.png", "testing/a/3.png", "testing/b/4.png")),
        Row("what lies beside them", "left out and named",
            "left out, beside the parts of the data set that are used: 7 (",
            ("train/a/1.png", "train/b/2.png", "test/a/3.png", "test/b/4.png", "extra/1.png")),
        Row("a class that only the test part has", "left out, named; a question",
            "class 'c' is in the test part alone: should it be in the training part?",
            ("train/a/1.png", "train/b/2.png", "test/a/3.png", "test/b/4.png", "test/c/5.png")),
        Row("`train` alone", "an error that names the path to give",
            "has train/ but neither test/ nor val/ with class folders; name ",
            ("train/a/1.png", "train/b/2.png"), True),
        Row("`train` and `test` inside each class", "all used; a question",
            "the class folders hold test and train: should those be parts of the data set?",
            ("a/train/4.png", "a/test/5.png", "b/train/4.png", "b/test/5.png")),
        Row("a class that is called like a part, without class folders in it", "a class; a question",
            "is 'train' a class? It is called like a part of a data set", ("train/1.png",)),
        Row("less than two classes", "an error, with the folder that may be meant", "is that the one?",
            ("download/images/a/1.png", "download/images/b/1.png", "download/pictures/1.png"), True, True),
    ],
    "Pictures": rasters.KINDS,
    "Tables": [
        Row("UTF-8 with a mark (Excel), UTF-16 with a mark (Excel's Unicode text)", "read",
            "4 texts in 2 classes: a 2, b 2", holds=table("Grüße,a", "Öl,a", *MORE, code="utf-16")),
        Row("Latin-1, Windows-1252: whatever is not UTF-8", "read as Windows-1252; a question",
            "question: is 'Grüße' in line 2 spelled right? The file is not UTF-8, and was read as Windows-1252",
            holds=table("Grüße,a", "Öl,a", *MORE, code="cp1252")),
        Row("semicolons, tabs or bars between the fields", "read; said", "fields are separated by semicolons",
            holds=table("one, two;a", "three;a", "four;b", "five;b", heading="text;label")),
        Row("line ends of Windows or of an old Mac", "read", "4 texts in 2 classes: a 2, b 2",
            holds=table("one,a", "two,a", *MORE, end="\r")),
        Row("commas, quotes and line breaks inside quotes", "read; line breaks are counted",
            "1 row over several lines, the first from line 2 on",
            holds=table('"one, ""two""\nthree",a', 'four,a', *MORE)),
        Row("a space before a quote", "read without it", "4 texts in 2 classes: a 2, b 2",
            holds=table('a, "one, two"', "a, three", "b, four", "b, five", heading="label,text")),
        Row("a comma in a text that is not in quotes", "an error",
            "line 2 has 3 fields and the heading 2, so a field that holds a comma needs quotes around it; 2 such lines",
            refused=True, holds=table("one, two,a", "three, four,a", *MORE)),
        Row("a row with too few fields", "an error", "(line 3 has 1 field and the heading 2; 1 such line)",
            refused=True, holds=table("one,a", "two", *MORE)),
        Row("a quote that is not closed", "an error", "(line 3: a quote is opened and never closed)",
            refused=True, holds=table("one,a", '"two,a', *MORE)),
        Row("a quote in the middle of a field in quotes", "an error",
            "(line 2: a quote ends before its field does; a quote inside a field is written twice)",
            refused=True, holds=table('"one "two" three",a', *MORE)),
        Row("zero bytes, UTF-16 without a mark", "an error", "(line 3 holds a zero byte): save it as UTF-8",
            refused=True, holds=table("one,a", "t\0wo,a", *MORE)),
        Row("commas at the ends of lines", "left out where nothing stands behind them",
            "4 texts in 2 classes: a 2, b 2",
            holds=table("one,a,,", "two,a,,", "three,b,,", "four,b", heading="text,label,,")),
        Row("blank lines, rows without any value", "left out; the rows are counted",
            "2 rows without any value left out",
            holds=table("one,a", "", ",", "two,a", *MORE, ",")),
        Row("no heading", "an error", "it has one, a: the first line must name the columns",
            refused=True, holds=table("two,a", *MORE, heading="one,a")),
        Row("a heading in other case, spaces around it", "read; other case is said", "column 'Label' is read as label",
            holds=table("one,a", "two,a", *MORE, heading=" text , Label")),
        Row("two columns of one name", "an error", "(two columns are called 'label')",
            refused=True, holds=table("one,a,b", heading="text,label,label")),
        Row("spaces around labels", "cut off; said", "spaces cut off from 2 labels, the first is ' a' in line 2",
            holds=table("one, a", "two,a ", *MORE)),
        Row("labels `1` and `1.0`", "one class, where all labels are whole numbers; said",
            "all labels are whole numbers, so '1.0' is taken as '1'",
            holds=table("one,1", "two,1.0", "three,2", "four,2")),
        Row("labels that look alike otherwise: `Cat` and `cat`, `1` and `01`, an accent stored in two ways",
            "two classes; a question", "are 'Cat' and 'cat' one class? They differ only in upper and lower case",
            holds=table("one,Cat", "two,Cat", "three,cat", "four,cat")),
        Row("a label in quotes, with spaces or `.0`", "stays as it is; a question",
            "are '1' and '1.0' one class? They differ only in how a number is written",
            holds=table('one,"1.0"', 'two,"1.0"', "three,1", "four,1")),
        Row("`NA`, `None`, `null`, `nan` as a label", "a class of that name; a question",
            "is 'NA' a label, or was it missing? 2 rows with such a word as label, the first in line 2",
            holds=table("one,NA", "two,NA", *MORE)),
        Row("the same as a text", "a text; a question",
            "is 'nan' a text, or was it missing? 1 row with such a word as text, the first in line 3",
            holds=table("one,a", "nan,a", *MORE)),
        Row("a label or a text that is missing", "an error", "have no label; the first is in line 3",
            refused=True, holds=table("one,a", "two, ", *MORE)),
        Row("a line break or control character in a label", "an error",
            "have a line break or another control character in their label; the first is in line 2",
            refused=True, holds=table('one,"a\nb"', *MORE)),
        Row("numbers as labels", "in the order of their values", "4 texts in 2 classes: 9 2, 10 2",
            holds=table("one,10", "two,10", "three,9", "four,9")),
    ],
    "Noise files": [
        Row("a csv with its rows in another order, or the index that pandas writes", "an error",
            "is in another order or for another data set: its column index says 39 in row 0, where 0 is expected",
            refused=True, holds=("csv", dict(index=range(39, -1, -1), label_noisy="given"))),
        Row("names of files in another order, also without their folders", "an error",
            "its column file says b/19.png in row 0, where a/0.png is expected (40 of 40 rows)",
            refused=True, holds=("csv", dict(file="moved", label_noisy="given"))),
        Row("labels of other data (`label`, `clean_label`)", "an error",
            "is for another data set or order: its column label differs from the true labels at 40 of 40 samples",
            refused=True, holds=("csv", dict(label="moved", label_noisy="given"))),
        Row("index, file and label that fit", "said", "compared row by row: index, file, label",
            holds=("csv", dict(index=range(40), file="file", label="own", label_noisy="given"))),
        Row("labels alone", "a question", "are the labels in the order of the training set? No column says so; "
            "75.0% agree with the data set's own, 25.0% would by chance", holds=("npy", "given")),
        Row("shape [N, 1]", "read as [N]", "40 labels in label_noisy, 25.000% of them wrong", holds=("npy", "column")),
        Row("a row of 0 and 1 for each sample (one-hot)", "an error",
            "holds label_noisy of shape (40, 4), and one label a sample is needed, such as the place of the largest "
            "value in each row: save labels.argmax(1)", refused=True, holds=("npy", "hot")),
        Row("names of classes", "read as those classes", "40 labels in label_noisy, 25.000% of them wrong",
            holds=("csv", dict(label="own", label_noisy="names"))),
        Row("names that are none", "an error",
            "label 'cow' of sample 3 is neither a number 0..3 nor the name of a class "
            "(cat, dog, hen, owl) (1 such)", refused=True, holds=("csv", dict(label_noisy="cow"))),
        Row("whole numbers as floats", "read", "25.000% of them wrong", holds=("npy", "floats")),
        Row("nan, a missing value", "an error", "label nan of sample 3 is no whole number: labels are 0..3 (1 such)",
            refused=True, holds=("npy", "nan")),
        Row("labels from 1 on, or of another data set", "an error",
            "label 4 of sample 3 is out of range: labels are 0..3 (10 such)", refused=True, holds=("npy", "from one")),
        Row("coarse labels where the classes are fine", "an error",
            "holds superclasses (coarse labels): 100% agree with those of the data set, and 25% with its 4 classes",
            refused=True, holds=("npy", "coarse")),
        Row("coarse labels beside fine ones (CIFAR-100N), and a column that names the coarse ones", "an error",
            "its column clean_coarse_label differs from the true labels at 30 of 40 samples", refused=True,
            holds=("pt", dict(clean_label="own", noisy_label="given", noisy_coarse_label="coarse",
                              clean_coarse_label="coarse"))),
        Row("another length", "an error", "has 39 labels, the data set has 40", refused=True, holds=("npy", "short")),
        Row("a file for the test set", "an error",
            "has 12 labels, the data set has 40; its test part has 12, but given labels are for the training",
            refused=True, holds=("npy", "test")),
        Row("`.npz` or `.pt` with several arrays", "the column is taken; else an error that names them",
            "has no column label_noisy; column names one of clean_label, worse_label, aggre_label", refused=True,
            holds=("npz", dict(clean_label="own", worse_label="given", aggre_label="given"))),
        Row("an `.npy` of Python objects, such as a dictionary", "an error; nothing of it is run",
            "it asks for Python objects", refused=True, holds=("npy", "objects")),
        Row("a csv with semicolons, True and False of a spreadsheet, any encoding", "as in other tables",
            "fields are separated by semicolons", holds=("csv;", dict(label="own", label_noisy="given"))),
        Row("a csv without a heading", "an error",
            "has no column label_noisy; column names one of 1 (its first line must name the columns)",
            refused=True, holds=("csv", dict([("1", "given")]))),
    ],
    "Texts": [
        Row("upper case, apostrophes, digits", "words in lower case", "don't | pay | 1 | 000",
            holds="Don't pay 1,000!"),
        Row("accents, stored as one letter or as two (NFC, NFD)", "the same words", "café | über",
            holds="Cafe\u0301 über"),
        Row("Devanagari, Tamil, Bengali ... (letters with marks)", "whole words", "हिन्दी | में",
            holds="हिन्दी में"),
        Row("Arabic and Hebrew, with signs for vowels", "whole words, with their signs", "كِتَابٌ | שָׁלוֹם",
            holds="كِتَابٌ שָׁלוֹם"),
        Row("Persian with joiners inside words", "whole words", "می\u200cخواهم",
            holds="می\u200cخواهم"),
        Row("Korean, stored as letters or as syllables", "the same words", "한국어",
            holds="\u1112\u1161\u11ab국어"),
        Row("Chinese, Japanese (no spaces)", "pairs of neighbouring letters", "日本 | 本語 | ok | 猫",
            holds="日本語, OK, 猫"),
        Row("Thai, Lao, Khmer, Burmese (no spaces, with marks)", "pairs of letters with their marks", "นี่ดี | ดีก",
            holds="นี่ดีก"),
        Row("emoji", "each a word", "👍🏽 | 👩\u200d👧 | 🇮🇳 | ❤",
            holds="👍🏽👩\u200d👧🇮🇳❤\ufe0f"),
    ],
}

# ---- the page

def as_markdown(rows):
    "The table of one section"
    def cell(text): return text.replace("|", "\\|").replace("\n", "\\n")
    lines = ["| what lies there | what becomes of it | what is said |", "|---|---|---|"]
    for row in rows:
        says = f"`{cell(row.says.strip())}`" if row.says else ""
        lines.append(f"| {cell(row.what)} | {cell(row.becomes)} | {says} |")
    return "\n".join(lines)

def sections_of(page):
    "section -> (cell, its table), of a page's markdown cells `## section` ... table"
    found = {}
    for cell in page["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown" and text.startswith("## ") and "\n| what" in text:
            found[text.splitlines()[0][3:]] = cell, text[text.index("\n| what") + 1:]
    return found

def write_page():
    "Put the tables into the page; a section that it lacks is an error"
    page = json.loads(PAGE.read_text())
    for section, rows in TABLE.items():
        cell, old = sections_of(page)[section]
        cell["source"] = "".join(cell["source"]).replace(old, as_markdown(rows)).splitlines(True)
    PAGE.write_text(json.dumps(page, indent=1, ensure_ascii=False, sort_keys=True) + "\n")

# ---- folders

def picture(number, size=16):
    "A picture in colour that no other number has"
    colours = np.random.default_rng(number).integers(0, 256, (4, 4, 3), np.uint8)
    return Image.fromarray(colours).resize((size, size), Image.Resampling.NEAREST)

def add(root, paths):
    "Make what `Row.paths` describes"
    for number, path in enumerate(paths):
        path, _, target = path.partition(" -> ")
        place = root/path
        place.parent.mkdir(parents=True, exist_ok=True)
        if target: place.symlink_to(target)
        elif path.endswith("/"): place.mkdir()
        else:
            with open(place, "wb") as file: picture(number + sum(map(ord, path))).save(file, "PNG")

def make(root, row):
    "The folder of a row: classes a and b with three pictures each, and what it adds"
    if not row.alone: add(root, [f"{label}/{number}.png" for label in "ab" for number in range(3)])
    add(root, row.paths)

# ---- a practitioner's folder

def practitioner(root):
    """Everything at once: names with spaces, umlauts and Japanese letters, case twins, nested, a class of three images,
    an empty one, a loose file; RGBA, palette, 16 and 12 bits, turned by EXIF, webp, an animation, nothing to see,
    a copy that lies on its side, broken, zero bytes; links; hidden junk.
    Returns the files that should be used, those that cannot be read among them"""
    classes = {"Blaue Tüten": 12, "りんご": 10, "Bag": 8, "bag": 8, "Taschen/alt": 5, "Taschen/neu": 5, "selten": 3}
    for label, count in classes.items(): add(root, [f"{label}/{number:02}.png" for number in range(count)])
    kinds = _odd_pictures(root/"Blaue Tüten") + _broken_pictures(root/"りんご")
    add(root, ["leer/", "lose.jpg", "Bag/mehr -> ../bag", "Taschen/kreis -> ..", "selten/weg.png -> nirgends"])
    add(root, [".DS_Store", ".ipynb_checkpoints/1.png", "__MACOSX/Bag/._00.png", "Bag/._00.png", "bag/Thumbs.db"])
    for name in ("Bag/handy.heic", "Bag/notizen.txt", "liste.csv"): (root/name).write_bytes(b"something else")
    return sum(classes.values()) + kinds

def _odd_pictures(folder): # how many
    small = picture(1, 24)
    alpha = Image.new("RGBA", (24, 24), (0, 0, 0, 0))
    alpha.paste((200, 30, 30, 255), (6, 6, 18, 18))
    alpha.save(folder/"alpha.png")
    picture(2, 24).quantize(16).save(folder/"palette.png")
    grey = np.arange(576, dtype=np.uint16).reshape(24, 24)*100
    Image.fromarray(grey).save(folder/"deep.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    small.save(folder/"turned.JPG", exif=exif)
    picture(3, 24).save(folder/"net.webp")
    picture(4, 24).convert("CMYK").save(folder/"print.jpeg")
    picture(5, 24).save(folder/"old.gif")
    Image.fromarray(grey//16).save(folder/"dim.tif")
    picture(6, 24).save(folder/"moving.webp", save_all=True, append_images=[small])
    Image.new("RGBA", (24, 24), (200, 30, 30, 0)).save(folder/"nothing.png")
    picture(7, 24).transpose(Image.Transpose.ROTATE_90).save(folder/"lying.png")
    picture(7, 24).save(folder/"upright.png")
    return 12

def _broken_pictures(folder): # how many
    with open(folder/"cut.jpg", "wb") as file: picture(6, 64).save(file, "JPEG")
    (folder/"cut.jpg").write_bytes((folder/"cut.jpg").read_bytes()[:400])
    (folder/"zero.png").write_bytes(b"")
    return 2

if __name__ == "__main__": sys.exit(write_page())
