"""What a look at the files finds: copies however they are stored, and what decoding had to guess."""
import numpy as np
import pandas as pd
import pytest
from PIL import Image

import rasters
from noisykit.audit.look import PROBLEMS, find_problems, look_at, look_at_all
from noisykit.data.pixels import NOTES

def scene(number, size=(48, 32)):
    "A picture like no other number's, and like none of its own turns"
    blobs = np.random.default_rng(number).integers(0, 256, (4, 6, 3), np.uint8)
    return Image.fromarray(blobs).resize(size, Image.Resampling.BICUBIC)

def problems_of(folder, **pictures): # name -> (label, content)
    "{name: its problems}"
    for name, (_, content) in pictures.items(): (folder/name).write_bytes(content)
    images = pd.DataFrame(dict(path=[folder/name for name in pictures], name=list(pictures),
                               label=[label for label, _ in pictures.values()]))
    found = find_problems(images, look_at_all(images.path), rare=1)
    return {name: rows.problem.tolist() for name, rows in found.groupby("name")}

TURNS = list(Image.Transpose)

@pytest.mark.parametrize("number", range(2, 9))
def test_a_copy_that_exif_turns_is_a_copy(tmp_path, number):
    exif = Image.Exif()
    exif[0x0112] = number
    stored = rasters.saved(scene(1).transpose(rasters.UNDO[number]), "PNG", exif=exif)
    others = {f"{k}.png": ("a", rasters.saved(scene(k), "PNG")) for k in range(2, 5)}
    found = problems_of(tmp_path, **{"upright.png": ("a", rasters.saved(scene(1), "PNG")), "turned.png": ("a", stored)},
                        **others)
    assert found == {"upright.png": ["copy"], "turned.png": ["copy"]}

@pytest.mark.parametrize("turn", TURNS, ids=lambda turn: turn.name)
@pytest.mark.parametrize("label", "ab")
def test_a_copy_that_lies_on_its_side(tmp_path, turn, label):
    "Its EXIF was dropped, and it was saved again, smaller"
    lying = scene(1).transpose(turn)
    lying = rasters.saved(lying.resize((lying.width*3//4, lying.height*3//4)), "JPEG", quality=90)
    others = {f"{k}.png": ("a", rasters.saved(scene(k), "PNG")) for k in range(2, 5)}
    found = problems_of(tmp_path, **{"upright.png": ("a", rasters.saved(scene(1), "PNG")), "lying.jpg": (label, lying)},
                        **others)
    kind = "turned copy" if label == "a" else "turned copy, other label"
    assert found == {"upright.png": [kind], "lying.jpg": [kind]}

def test_different_pictures_are_no_copies(tmp_path):
    pictures = {f"{k}.png": ("ab"[k % 2], rasters.saved(scene(k), "PNG")) for k in range(60)}
    assert problems_of(tmp_path, **pictures) == {}

def test_what_decoding_says_is_a_problem(tmp_path):
    said = {}
    for kind in rasters.KINDS:
        for name, (content, wanted) in kind.files.items():
            (tmp_path/name).write_bytes(content)
            seen = look_at(tmp_path/name)
            if wanted is None: assert kind.says in seen["broken"]
            else: said |= dict(seen["notes"])
    assert set(said) == set(NOTES) <= set(PROBLEMS)
    shown = problems_of(tmp_path, **{"twelve.tif": ("a", rasters.tiff(rasters.RAMP.astype("<u2")*16)),
                                     "colour.png": ("a", rasters.saved(scene(1), "PNG")),
                                     "more.png": ("b", rasters.saved(scene(2), "PNG"))})
    assert shown == {"twelve.tif": ["brightness guessed", "greyscale"]}
