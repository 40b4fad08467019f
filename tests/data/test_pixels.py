"""Every kind of picture file decodes to the right pixels or is named; training, audit and its page see the same."""
import base64
import io

import numpy as np
import pytest
from PIL import Image

import rasters
from noisykit.audit.look import look_at
from noisykit.audit.page import thumbnail
from noisykit.data.images import FolderImages
from noisykit.data.pixels import NOTES, decode, decode_all, guess_range, opened, try_all
from refusals import refused

FILES = [pytest.param(kind, name, id=f"{kind.what}, {name}") for kind in rasters.KINDS for name in kind.files]

def written(folder, kind, name):
    path, (content, wanted) = folder/name, kind.files[name]
    path.write_bytes(content)
    if wanted is not None and wanted.ndim == 2: wanted = wanted[..., None].repeat(3, 2)
    return path, wanted

@pytest.mark.parametrize("kind, name", FILES)
def test_rows_of_the_page(tmp_path, kind, name):
    "The right values, and what is said"
    path, wanted = written(tmp_path, kind, name)
    if wanted is None:
        with refused(text=kind.says, kinds=OSError): decode(path)
        assert kind.says in look_at(path)["broken"]
        (position, message), = try_all([path])[0]
        assert kind.says in message
        return
    with opened(path) as picture: pixels = np.asarray(picture.rgb(), int)
    assert picture.size == pixels.shape[1::-1]
    assert abs(pixels - wanted).max() <= kind.tolerance
    said = " ".join(f"{kind} {detail}" for kind, detail in picture.notes)
    assert kind.says in said if kind.says else said == ""
    assert {note for note, _ in picture.notes} <= set(NOTES)
    assert try_all([path]) == ([], [(0, note) for note in dict(picture.notes)])

def test_all_readers_see_the_same(tmp_path):
    "A network, an audit, its page; each file turned, deep or transparent"
    for kind in rasters.KINDS:
        for name in kind.files:
            path, wanted = written(tmp_path, kind, name)
            if wanted is None or name.endswith("jpg") or wanted.shape[0] != wanted.shape[1]: continue
            seen, = FolderImages([path], wanted.shape[0], workers=0).take([0]).pixels
            assert (seen.permute(1, 2, 0).numpy() == np.asarray(decode(path))).all()
            assert (seen == decode_all([path], wanted.shape[0])[0]).all()
            small = Image.open(io.BytesIO(base64.b64decode(thumbnail(path, 16))))
            assert abs(np.asarray(small, int) - np.asarray(decode(path))).mean() < 25, name
            assert look_at(path)["notes"] == list(opened_notes(path))

def opened_notes(path):
    with opened(path) as picture:
        picture.rgb()
        return picture.notes

@pytest.mark.parametrize("number", range(1, 9))
def test_a_turned_photograph_is_cut_where_it_is_seen(tmp_path, number):
    "A large JPEG that is decoded smaller: the box of a test picture is that of the upright one"
    large = rasters.MARKED.convert("RGB").resize((960, 640), Image.Resampling.BICUBIC)
    large.save(tmp_path/"upright.png")
    exif = Image.Exif()
    exif[0x0112] = number
    stored = large.transpose(rasters.UNDO[number]) if number in rasters.UNDO else large
    stored.save(tmp_path/"turned.jpg", exif=exif, quality=95)
    with opened(tmp_path/"turned.jpg") as picture:
        assert picture.size == (960, 640)
        assert picture.rgb((80, 80)).size == (120, 80) and picture.scale == 1/8
    images = FolderImages([tmp_path/"upright.png", tmp_path/"turned.jpg"], 64, workers=0)
    upright, seen = images.take([0, 1]).pixels.int()
    assert (upright - seen).abs().float().mean() < 3

def test_a_guess_about_white():
    "The smallest of the usual ones that holds the largest value"
    wanted = {1: 1, 2: 255, 255: 255, 256: 4095, 4096: 16383, 16384: 65535, 65535: 65535}
    assert {high: guess_range(0, high)[1] for high in wanted} == wanted
    assert guess_range(-1, 5) == (-1, 5) and guess_range(3, 65536) == (3, 65536)

def test_a_folder_of_twelve_bits_has_one_white(tmp_path):
    "A dark picture stays darker than a bright one"
    for name, highest in (("dark", 600), ("bright", 4095)):
        Image.fromarray((rasters.RAMP*(highest/255)).astype(np.uint16)).save(tmp_path/f"{name}.png")
    dark, bright = (np.asarray(decode(tmp_path/f"{name}.png"), float).max() for name in ("dark", "bright"))
    assert bright == 255 and abs(dark - 600/4095*255) < 1

def test_pictures_of_one_value(tmp_path):
    for value, kind, wanted in ((0, np.uint16, 0), (-7, np.int32, 0), (.5, np.float32, 128), (np.nan, np.float32, 0)):
        Image.fromarray(np.full((4, 4), value, kind)).save(tmp_path/"a.tif")
        assert decode(tmp_path/"a.tif").getextrema() == ((wanted, wanted),)*3
