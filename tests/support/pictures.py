"scikit-learn's digits as pictures in files."
import numpy as np
from PIL import Image

from layouts import DIGITS

def digit(number):
    "Digit `number` of scikit-learn's as a grey picture of 8x8"
    return Image.fromarray((DIGITS.images[number]*15).astype(np.uint8))

def save_digit(path, number, size=None):
    "Write it, and the folder that it is in; `size` is (width, height)"
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = digit(number)
    (picture.resize(size) if size else picture).save(path)

def digits_of(target):
    "Numbers of all pictures of a class"
    return np.flatnonzero(DIGITS.target == target)
