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

NFC, NFD = (unicodedata.normalize(form, "Tüten") for form in ("NFC", "NFD"))

# section of the page -> rows; tests/data/test_folders.py makes those of Folders, test_pixels.py those of Pictures
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
