"""Whatever a picture file holds is decoded, or named as broken."""
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from noisykit.audit.look import PROBLEMS, look_at
from noisykit.data.pixels import NOTES, TURNS, decode
from refusals import unless_refused
from strategies import fuzz, new_folder, pictures

EXACT = "PNG", "BMP", "TIFF", "PPM", "TGA"

@fuzz(120, drawn=pictures())
def test_any_picture(drawn):
    "Of its own size, turned as its EXIF data say; exact where the format is"
    content, picture, kind, turn = drawn
    if not content: return
    with new_folder() as folder:
        (Path(folder)/"x.png").write_bytes(content)
        seen, rgb = look_at(Path(folder)/"x.png"), decode(Path(folder)/"x.png")
    assert seen["broken"] is None and {note for note, _ in seen["notes"]} <= set(NOTES) <= set(PROBLEMS)
    turned = picture.convert("RGB") if picture.mode in ("1", "L", "RGB") else picture
    turned = turned.transpose(TURNS[turn]) if turn in TURNS else turned
    assert rgb.mode == "RGB" and rgb.size == (seen["width"], seen["height"])
    if kind not in ("ICO", "ICNS"): assert rgb.size == turned.size
    if turned.mode == "RGB" and kind in EXACT: assert np.array_equal(rgb, turned)

@fuzz(120, drawn=pictures(), place=st.floats(0, 1), cut=st.integers(0, 5) | st.just(10**6), more=st.binary(max_size=3))
def test_any_damaged_picture(drawn, place, cut, more):
    "Decoded, or named: the audit and the reader say the same"
    content, place = drawn[0], int(place*len(drawn[0]))
    with new_folder() as folder:
        (Path(folder)/"x.png").write_bytes(content[:place] + more + content[place + cut:])
        seen, rgb = look_at(Path(folder)/"x.png"), unless_refused(decode, Path(folder)/"x.png")
    assert (rgb is None) == bool(seen["broken"])
    assert rgb is not None or len(seen["broken"].splitlines()) == 1
