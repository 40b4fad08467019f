"""Studies: a file is a study, its rules win by how much they name, and what is wrong in it is one sentence."""
import itertools

import pytest
import yaml

import noisykit.study
from noisykit.resolve import resolve
from noisykit.study import FOLDER, common, find_study, known_studies, read_study, studies

MINE = """
datasets: [digits]
settings:
- epochs: 5
  model: lenet
  source: everywhere
- for: {noise: symmetric}
  lr: 0.02
  noise_rate: 0.3
  source: symmetric
- for: {noise: symmetric, noise_rate: 0.3}
  lr: 0.03
  source: symmetric at 0.3
- for: {method: [sln, l2r+mo]}
  weight_decay: 0.0
  source: these methods
"""

@pytest.fixture
def mine(tmp_path):
    path = tmp_path/"mine.yaml"
    path.write_text(MINE)
    return str(path)

def settle(study, **settings):
    "The configuration that `resolve` comes to, on digits unless it is told otherwise"
    return resolve(study=str(study), device="cpu", **dict(dataset="digits") | settings)[0]

def test_what_names_more_wins(mine):
    c, sources = resolve(study=mine, dataset="digits", method="ce", device="cpu")
    assert (c.epochs, c.model, c.noise_rate, c.lr, c.weight_decay) == (5, "lenet", 0.3, 0.03, 5e-4)
    assert sources["lr"] == "symmetric at 0.3" and sources["weight_decay"] == "default" and c.study == mine
    assert c.run_dir.endswith("ce-digits-symmetric0.3-s0")
    assert settle(mine, noise_rate=0.1).lr == 0.02
    assert settle(mine, noise="uniform").lr == 0.05
    assert settle(mine, lr=0.5).lr == 0.5   # the user's goes before all
    decay = {method: settle(mine, method=method).weight_decay for method in ("sln", "l2r", "ce+mo", "l2r+mo")}
    assert decay == {"sln": 0, "l2r": 5e-4, "ce+mo": 5e-4, "l2r+mo": 0}

def test_the_order_of_blocks_means_nothing(tmp_path):
    content, path, seen = yaml.safe_load(MINE), tmp_path/"mine.yaml", set()
    for blocks in itertools.permutations(content["settings"]):
        path.write_text(yaml.safe_dump(content | dict(settings=list(blocks))))
        seen.add(repr(resolve(study=str(path), dataset="digits", method="sln", device="cpu")))
    assert len(seen) == 1

def test_what_no_study_changes():
    "A study's rate is not meant for no noise, nor for a matrix that is taken as it is"
    rates = [settle("td", dataset="cifar10", noise=noise).noise_rate for noise in ("symmetric", "none", "matrix")]
    assert rates == [0.2, 0, 1]

@pytest.fixture
def own_folder(tmp_path, monkeypatch):
    "A folder of studies that is read instead of the package's, with the same files"
    def forget():
        for cached in (common, studies): cached.cache_clear()
    for path in FOLDER.glob("*.yaml"): (tmp_path/path.name).write_text(path.read_text())
    monkeypatch.setattr(noisykit.study, "FOLDER", tmp_path)
    forget()
    yield tmp_path
    monkeypatch.undo()
    forget()

def test_a_new_file_is_a_new_study(own_folder):
    (own_folder/"mine.yaml").write_text(MINE)
    assert known_studies()["mine"] == ["digits"] and settle("mine").lr == 0.03

def own_methods(study): return (study.default_of or {}).get("method", [])
OWN_STUDY = [pair for name, study in studies().items() for pair in itertools.product([name], own_methods(study))]

@pytest.mark.parametrize("name, method", OWN_STUDY)
def test_a_method_takes_its_own_study(name, method):
    "On each data set of the study, with its own noise and with others"
    for dataset, noise in itertools.product(find_study(name).datasets, (None, "none", "symmetric", "asymmetric")):
        c, sources = resolve(dataset=dataset, method=method, noise=noise, device="cpu")
        assert c.study == name and sources["lr"] != "default"

def test_cifar_n_asks_for_its_labels():
    with pytest.raises(ValueError, match="set noise_file to CIFAR-10_human.pt"):
        settle("cifar_n", dataset="cifar10", method="elr")
    c = settle("cifar_n", dataset="cifar100", method="elr", noise_file="CIFAR-100_human.pt")
    assert (c.model, c.lr, c.epochs, c.options) == ("resnet34-3x3", .02, 150, dict(beta=.9, strength=7.))

def test_every_file_says_whose_study_it_is():
    assert all(study.paper and study.datasets and study.rules for study in studies().values())

WRONG = [
    ("lr: 0.02", "lr: 2e-2", "block 2 of settings: lr 2e-2 is text to yaml; write 2.0e-2"),
    ("lr: 0.02", "lr: yes", "block 2 of settings: lr must be a number; got True"),
    ("lr: 0.02", "schedule: {milestones: [3], gamma: 1e-1}",
     "block 2 of settings: schedule 1e-1 is text to yaml; write 1.0e-1"),
    ("lr: 0.02", "data_options: {trainsize: 3}",
     "block 2 of settings: unknown option of data set 'digits': 'trainsize'; did you mean 'train_size'?"),
    ("lr: 0.02", "method: sln", "block 2 of settings: unknown setting 'method'"),
    ("lr: 0.02", "model: resnet33", "block 2 of settings: unknown network 'resnet33'; did you mean 'resnet34'?"),
    ("lr: 0.02", "lr: {digits: 0.1, cifar10: 0.2}", "block 2 of settings: unknown dataset 'cifar10'; known: digits"),
    ("noise_rate: 0.3\n  source: symmetric\n", "noise: none\n  source: symmetric\n",
     "block 2 of settings: a block for noise symmetric cannot set noise, which is chosen before"),
    ("{method: [sln, l2r+mo]}", "{method: slm}", "block 4 of settings: unknown method 'slm'; did you mean 'sln'?"),
    ("{method: [sln, l2r+mo]}", "{method: sln}\n  options: {sigma: high}",
     "block 4 of settings: option sigma of method 'sln' must be a number; got 'high'"),
    ("  weight_decay: 0.0\n", "  noise_rate: 0.1\n",
     "noise_rate is 0.3 for noise symmetric and 0.1 for method sln or l2r+mo; a run can be both, so a "
     "block that names both must say which"),
    ("  source: everywhere", "",
     "block 1 of settings: 'source', which says where the numbers come from, must be text; got None"),
    ("epochs: 5", "epochs: 5\n  epochs: 6", "'epochs' is there twice, again in line 5"),
    ("datasets: [digits]", "datasets: digits", "datasets must be a list; got 'digits'"),
    ("datasets: [digits]", "datasets: [digits]\nneeds: {one_of: [data_dir]}", "'needs' has no 'otherwise'"),
    (MINE, "- epochs: 5", "it holds no settings"),
]

@pytest.mark.parametrize("old, new, said", WRONG)
def test_what_is_wrong_is_one_sentence(tmp_path, old, new, said):
    assert MINE.count(old) == 1
    path = tmp_path/"mine.yaml"
    path.write_text(MINE.replace(old, new))
    with pytest.raises(ValueError) as e: settle(path)
    assert str(e.value).startswith(f"study file mine.yaml: {said}") and "\n" not in str(e.value)

def test_a_study_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="study file .*none.yaml does not exist"): settle(tmp_path/"none.yaml")
    with pytest.raises(ValueError, match="unknown study 'snl'; did you mean 'sln'"): find_study("snl")
    with pytest.raises(ValueError, match="study 'sln' has no settings for data set 'digits'"): settle("sln")
    with pytest.raises(ValueError, match="study 'fsr_tail' is for long tails: set data option imbalance"):
        settle("fsr_tail", dataset="cifar10")

def test_two_defaults_of_the_same_runs(tmp_path, monkeypatch):
    for name in "ab": (tmp_path/f"{name}.yaml").write_text(MINE + "default_of: {method: sln}\n")
    monkeypatch.setattr(noisykit.study, "FOLDER", tmp_path)
    with pytest.raises(ValueError, match="studies 'a' and 'b' are both the default of method sln"):
        studies.__wrapped__()
    assert read_study(tmp_path/"a.yaml").default_of == {"method": ["sln"]}
