"Pixels of picture files and of loaded images, as integers [H, W, 3]."
import numpy as np
from PIL import Image

def of_file(
    path,
    size=None, # (width, height) to resize it to
):
    picture = Image.open(path).convert("RGB")
    return as_integers(resized(picture, size) if size else picture)

def resized(picture, size, **how): return picture.resize(size, Image.Resampling.BILINEAR, **how)

def as_integers(picture): return np.asarray(picture, int)

def of_image(
    images, # of a loaded data set
    number,
):
    "One image of a data set"
    return images.take([number]).pixels[0].permute(1, 2, 0).numpy()
