"""Options that a data set takes, and what a study's presets say for one."""
import pytest

from noisykit.data.source import load_dataset
from noisykit.resolve import resolve
from refusals import refused

@pytest.mark.parametrize("name", ["tinyimagenet", "cub200", "caltech256", "webvision50", "clothing100k"])
def test_options(tmp_path, name):
    with refused("needs data_dir: a folder with", kinds=FileNotFoundError): load_dataset(name)
    with refused("image_size must be a whole number of at least 8"): load_dataset(name, tmp_path, image_size=4)
    with refused("unknown option of data set"): load_dataset(name, tmp_path, split="official")

TWO_CUTS = dict(milestones=[100, 150], gamma=.1)
# what is given beside method ce -> settings that come of it
PRESETS = [
    (dict(dataset="tinyimagenet"),
     dict(study="td", noise="symmetric", noise_rate=.2, model="resnet32-s2", weights="random", epochs=200,
          batch_size=128, schedule=TWO_CUTS, dynamics="evaluation", keep_probs=10)),
    (dict(dataset="cub200", noise_rate=.4),
     dict(study="td", noise_rate=.4, model="resnet34", weights="IMAGENET1K_V1", lr=.1, nesterov=True,
          weight_decay=1e-4, probe_size=0)),
    (dict(dataset="caltech256", model="resnet50"), dict(weights="IMAGENET1K_V1")),
    (dict(dataset="caltech256", model="cnn"), dict(weights="random", epochs=200)),
    (dict(dataset="caltech256", study="td_retrain"),
     dict(model="resnet34", epochs=300, batch_size=256, schedule=dict(milestones=[150], gamma=.1), keep_probs=False)),
    (dict(dataset="webvision50"),
     dict(study="td", noise="none", noise_rate=0., model="resnet50", weights="random", epochs=200)),
    (dict(dataset="webvision50", method="dividemix"),
     dict(study="dividemix", noise="none", model="resnet50", epochs=100, batch_size=32, lr=.01)),
    (dict(dataset="cub200", method="dividemix"),
     dict(study="dividemix", noise="uniform", epochs=300, weights="IMAGENET1K_V1")),
    (dict(dataset="clothing100k", study="td_retrain"),
     dict(noise="none", model="resnet50", epochs=300, batch_size=256, schedule=dict(milestones=[99, 201], gamma=.1))),
]

@pytest.mark.parametrize("given, expected", PRESETS)
def test_presets_of_the_studies(given, expected):
    config = resolve(**dict(method="ce", device="cpu") | given)[0]
    assert {name: getattr(config, name) for name in expected} == expected
