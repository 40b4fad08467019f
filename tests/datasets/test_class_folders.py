"""WebVision50, Clothing100K, CUB-200 and Caltech-256 as parts with a folder a class: AUM's layout."""
import shutil

import numpy as np
import pytest

import layouts
from noisykit.data.source import load_dataset
from noisykit.run import run_method
from refusals import refused

FILES = dict(image_size=32, workers=0)
NO_PARTS = "must hold train/, and test/ or val/"
# what is said of a folder that is in no layout of the data set
NO_LAYOUT = dict(webvision50=NO_PARTS, clothing100k=NO_PARTS, cub200="images.txt does not exist",
                 caltech256="holds 0 class folders")

@pytest.mark.parametrize("name", NO_LAYOUT)
def test_parts(tmp_path, name):
    "Without test/, val/ is the test set; beside test/ it is one more"
    layouts.class_folders(tmp_path/"three", train=5, val=2, test=3)
    layouts.class_folders(tmp_path/"two", train=5, val=2)
    three, two = (load_dataset(name, tmp_path/folder, **FILES) for folder in ("three", "two"))
    assert three.classes == list("0123")
    assert three.labels.tolist() == np.repeat(range(4), 5).tolist() == two.labels.tolist()
    assert three.test_labels.tolist() == np.repeat(range(4), 3).tolist()
    assert list(three.tests) == ["val"]
    assert not two.tests
    images, labels = three.tests["val"]
    assert labels.tolist() == np.repeat(range(4), 2).tolist() == two.test_labels.tolist()
    assert all("/test/" in path for path in three.test.paths)
    assert all("/val/" in path for path in (*images.paths, *two.test.paths))
    assert images.scale == three.train.scale

@pytest.mark.parametrize("name", NO_LAYOUT)
def test_folders_that_are_refused(tmp_path, name):
    layouts.class_folders(tmp_path/"three", train=5, val=2, test=3)
    with refused(NO_LAYOUT[name], kinds=FileNotFoundError): load_dataset(name, tmp_path/"three/train/0", **FILES)
    shutil.rmtree(tmp_path/"three/val/2")
    with refused("class folder .*val/2 holds no images", kinds=FileNotFoundError):
        load_dataset(name, tmp_path/"three", **FILES)

def test_clutter(tmp_path):
    for part in ("train", "val"):
        for number, name in enumerate(("001.ak47", "002.flag", "257.clutter")):
            layouts.coloured(tmp_path/part/name/f"{part}.jpg", number, number)
    assert load_dataset("caltech256", tmp_path, **FILES).classes == ["ak47", "flag"]
    assert load_dataset("caltech256", tmp_path, clutter=True, **FILES).classes == ["ak47", "flag", "clutter"]

def test_a_run_measures_both_test_sets(tmp_path):
    layouts.class_folders(tmp_path/"data", train=5, val=2, test=3)
    run = run_method(method="ce", dataset="webvision50", data_dir=tmp_path/"data", data_options=FILES, model="cnn",
                     epochs=1, batch_size=8, probe_size=0, noise="none", device="cpu", run_dir=tmp_path/"run",
                     quiet=True)
    assert {"test_accuracy", "val_accuracy"} <= set(run.metrics)
    assert not run.labels.flipped.any()
