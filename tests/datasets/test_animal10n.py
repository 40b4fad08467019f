"""Animal-10N: the zips in which it is given out."""
import io
import zipfile

import pytest
from PIL import Image

from noisykit.data.source import load_dataset
from refusals import refused

@pytest.fixture
def folder(tmp_path):
    "raw_image.zip alone, with a folder and a Mac's leftovers inside"
    picture = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(picture, "jpeg")
    with zipfile.ZipFile(tmp_path/"raw_image.zip", "w") as archive:
        for name in ("raw/training/3_b.jpg", "raw/training/1_a.JPG", "raw/testing/9_c.jpg"):
            archive.writestr(name, picture.getvalue())
        for name in ("__MACOSX/raw/training/._3_b.jpg", "raw/training/Thumbs.db", "raw/0_readme.jpg"):
            archive.writestr(name, b"junk")
    return tmp_path

def test_pictures_in_a_zip(folder):
    data = load_dataset("animal10n", folder, image_size=16)
    assert data.labels.tolist() == [1, 3]
    assert data.test_labels.tolist() == [9]
    assert data.train.shape == (3, 16, 16)
    assert data.train.pixels[0, 0].min() > 250

def test_a_file_inside_that_is_no_picture(folder):
    with zipfile.ZipFile(folder/"raw_image.zip", "a") as archive: archive.writestr("raw/training/5_x.jpg", b"junk")
    with refused("raw/training/5_x.jpg cannot be read", kinds=OSError): load_dataset("animal10n", folder)

def test_a_zip_that_is_none(folder):
    (folder/"raw_image_ver.zip").write_bytes(b"junk")
    with refused("raw_image_ver.zip cannot be read as zip", kinds=ValueError): load_dataset("animal10n", folder)
