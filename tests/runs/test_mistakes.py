"""What somebody reads who made a mistake: by the command a sentence and nothing else, by papermill the same sentence in
the last line."""
import sys

import pytest
import yaml

import warm
from conftest import ROOT
from noisykit.config import OTHER_WORDS
from noisykit.notebook import NOTEBOOKS, notebook_settings, parameters_cell

DIGITS = dict(dataset="digits", device="cpu", epochs=2)

MISTAKES = { # what somebody does -> (notebook, settings, the sentence)
    "a setting by another name": ("run_method", dict(learning_rate=.1),
                                  "unknown parameter 'learning_rate'; did you mean 'lr'?"),
    "a misspelt setting": ("run_method", dict(metod="l2r"), "unknown parameter 'metod'; did you mean 'method'?"),
    "a misspelt method": ("run_method", dict(method="l2rr"), "unknown method 'l2rr'; did you mean 'l2r'?"),
    "half an epoch": ("run_method", dict(epochs=2.5), "epochs must be a whole number; got 2.5"),
    "a rate above 1": ("run_method", dict(noise_rate=1.5), "noise_rate must be a number from 0 to 1; got 1.5"),
    "an option that is none": ("run_method", dict(method="sln", options=dict(sigmaa=1)), "did you mean 'sigma'?"),
    "no probe": ("run_method", dict(method="l2r", probe_size=0), "method 'l2r' needs a probe"),
    "data that are not there": ("run_method", dict(dataset="cifar10", data_dir="nowhere"), "nowhere"),
    "labels that are not there": ("run_method", dict(noise_file="none.csv"), "none.csv"),
    "images that are not there": ("audit", dict(data_dir="nowhere"), "nowhere does not exist"),
    "a fold alone": ("audit", dict(data_dir="nowhere", folds=1), "folds must be a whole number of at least 2; got 1"),
    "no list of values": ("run_sweep", dict(base=DIGITS, over=dict(seed=3)), "over seed: a list of values is expected"),
}
COMMANDS = dict(run_method="run", audit="audit", run_sweep="sweep")

def told(what, folder):
    "(all lines of the command, all lines of papermill)"
    notebook, settings, _ = MISTAKES[what]
    if notebook == "run_method": settings = DIGITS | settings
    given = yaml.safe_dump(settings)
    by_command = warm.noisykit([COMMANDS[notebook], "-y", given], folder)
    words = [sys.executable, "-m", "papermill", str(ROOT/f"nbs/{notebook}.ipynb"), "out.ipynb", "-k", "python3"]
    by_papermill = warm.papermill([*words, "--no-progress-bar", "-y", given], folder)
    assert by_command.returncode == 1 and by_papermill.returncode != 0
    return [done.stderr.strip().splitlines() for done in (by_command, by_papermill)]

@pytest.mark.parametrize("what", MISTAKES)
def test_one_sentence(what, tmp_path):
    by_command, by_papermill = told(what, tmp_path)
    sentence = MISTAKES[what][2]
    assert len(by_command) == 1 and sentence in by_command[0], by_command
    assert by_papermill[-1].endswith(by_command[0]), by_papermill[-1]
    assert {path.name for path in tmp_path.iterdir()} <= {"out.ipynb"} # nothing stays, no folder either

WRONG_WORDS = [(["lst"], "No such command 'lst'."), (["list", "methds"], "did you mean 'methods'?"),
               (["run", "-p", "lr"], "requires 2 arguments"), (["run", "-y", "lr: ["], "cannot be read as yaml"),
               (["run", "-f", "none.yaml"], "none.yaml"), (["show", "none"], "none"), (["audit"], "name the folder")]

@pytest.mark.parametrize("words, sentence", WRONG_WORDS)
def test_wrong_words(words, sentence, tmp_path):
    done = warm.noisykit(words, tmp_path)
    assert done.returncode == 1 and sentence in done.stderr and done.stderr.count("\n") == 1, done.stderr

def test_every_setting_says_what_it_means():
    for path in NOTEBOOKS.glob("*.ipynb"):
        if not parameters_cell(path): continue
        assert not [setting.name for setting in notebook_settings(path) if not setting.meaning], path.name
    assert OTHER_WORDS["learning_rate"] == "lr"
