"""What every noise law keeps: a transition matrix, labels that follow it at the rate that was asked for, the same ones
for the same seed whatever else draws numbers, the same ones from a file, and in a run. A new law is among the cases
without a line here, unless it cannot do without an option of its own."""
from functools import wraps

import numpy as np
import pandas as pd
import pytest
import torch

from noisykit.data.noise import LAWS, law_options, load_noise, make_noise, save_noise
from noisykit.data.source import DATASETS, known_datasets, load_dataset
from noisykit.errors import Refused
from noisykit.run import run_method

C, RATE = 10, .3
SUPERCLASS = [c//4 for c in range(C)]
rng = np.random.default_rng(0)
TRUE = rng.integers(0, C, 4000)
# what a law needs beside its rate: from a data set, from a run before it, or an option that it cannot do without
NEEDED = dict(superclass=SUPERCLASS, classes=[f"class {c}" for c in range(C)])
SCORES = rng.dirichlet(np.ones(C), len(TRUE))
OWN = dict(matrix=dict(matrix=rng.dirichlet(np.ones(C), C).tolist()))

every_law = pytest.mark.parametrize("law", sorted(LAWS))

def options(law):
    scores = dict(scores=SCORES) if LAWS[law].clean_run else {}
    return {k: NEEDED[k] for k in LAWS[law].needs} | scores | OWN.get(law, {})

def noise(law, rate=RATE, seed=0, true=TRUE): return make_noise(true, C, law, rate, seed, **options(law))

def wrong(noise): return noise.true < 0 if LAWS[noise.law].foreign else noise.flipped

@every_law
@pytest.mark.parametrize("rate", [0., RATE, 1.])
def test_matrix_and_labels(law, rate):
    made = noise(law, rate)
    assert made.matrix.shape == (C, C) and made.matrix.min() >= 0 and np.allclose(made.matrix.sum(1), 1)
    assert made.given.dtype == np.int64 and made.given.shape == TRUE.shape and set(made.given) <= set(range(C))
    foreign = made.true < 0
    assert (made.true[~foreign] == TRUE[~foreign]).all() and foreign.any() == (LAWS[law].foreign and rate > 0)
    assert made.law == law and (rate > 0 or not made.flipped.any())

@every_law
def test_the_rate_is_the_one_that_was_asked_for(law):
    made = noise(law)
    spread = np.sqrt(made.expected_rate*(1 - made.expected_rate)/len(TRUE))
    assert abs(made.realised_rate - made.expected_rate) <= 5*spread
    assert made.realised_rate <= RATE + 5*spread and (law == "none") == (made.realised_rate == 0)
    if LAWS[law].foreign: return
    counts = np.bincount(TRUE, minlength=C)[:, None]
    allowed = 5*np.sqrt(made.matrix*(1 - made.matrix)/counts) + 1e-9
    assert (abs(made.realised_matrix - made.matrix) <= allowed).all()

@every_law
def test_the_seed_alone_decides(law):
    first = noise(law)
    np.random.seed(3)
    torch.manual_seed(3)
    state = np.random.get_state()[1].copy()
    again = noise(law)
    assert (first.given == again.given).all() and (first.true == again.true).all()
    assert (np.random.get_state()[1] == state).all()
    other = noise(law, seed=1)
    drawn = law != "none" and not LAWS[law].clean_run   # the rest follows from true labels and scores alone
    assert (wrong(first) != wrong(other)).any() == drawn

@every_law
@pytest.mark.parametrize("ending", ["csv", "npy"])
def test_a_file_gives_the_same_labels(law, ending, tmp_path):
    made = noise(law)
    save_noise(made, tmp_path/f"labels.{ending}")
    read = load_noise(tmp_path/f"labels.{ending}", TRUE, C)
    assert (read.given == made.given).all() and (read.true == made.true).all() and read.law == "file"

@every_law
def test_a_file_in_another_order_is_refused(law, tmp_path):
    save_noise(noise(law), tmp_path/"labels.csv")
    table = pd.read_csv(tmp_path/"labels.csv")
    table.sample(frac=1, random_state=0).to_csv(tmp_path/"other.csv", index=False)
    with pytest.raises(ValueError, match="is for another data set or order") as e:
        load_noise(tmp_path/"other.csv", TRUE, C)
    assert "\n" not in str(e.value)

@pytest.fixture
def grouped_digits(monkeypatch):
    "scikit-learn's digits with a superclass for each class"
    digits = known_datasets()["digits"]
    @wraps(digits)
    def grouped(data_dir):
        source = digits(data_dir)
        source.superclass = SUPERCLASS
        return source
    monkeypatch.setitem(DATASETS, "digits", grouped)

# in a run, what comes from elsewhere is named by what a user may set
IN_A_RUN = dict(settings=dict(epochs=2), dataset="mnist5k")

@every_law
def test_in_a_run(law, grouped_digits, tmp_path):
    known = law_options(law)
    own = OWN.get(law) or {k: v for k, v in IN_A_RUN.items() if k in known} or None
    rate = {} if law == "none" else dict(noise_rate=RATE)
    kw = dict(method="ce", dataset="digits", data_options=dict(train_size=201, test_size=100), noise=law,
              noise_options=own, probe_size=0, model="cnn", epochs=1, batch_size=64, lr=.05, device="cpu", quiet=True)
    run = run_method(**kw, **rate, run_dir=str(tmp_path/"run"))
    true = load_dataset("digits", train_size=201).labels
    foreign = run.labels.true < 0
    assert (run.labels.true[~foreign] == true[~foreign]).all()
    assert (run.labels.flipped.mean() == 0) if law == "none" else (.1 < run.labels.flipped.mean() <= .45)
    if not LAWS[law].clean_run:
        made = noise(law, 0. if law == "none" else RATE, true=true)
        assert (run.labels.given == made.given).all() and (run.labels.true == made.true).all()
    again = run_method(**kw, **rate, run_dir=str(tmp_path/"again/run"))
    assert again.labels.equals(run.labels)

@every_law
def test_a_wrong_option_is_refused_in_a_sentence(law, tmp_path):
    kw = dict(method="ce", dataset="digits", noise=law, run_dir=str(tmp_path/"run"), device="cpu", quiet=True)
    for wrong in [dict(no_such=1), *({k: object} for k in law_options(law))]:
        with pytest.raises(Refused, match=next(iter(wrong))) as e: run_method(**kw, noise_options=wrong)
        assert "\n" not in str(e.value) and not (tmp_path/"run").exists()

def test_a_rate_outside_0_to_1_is_refused():
    with pytest.raises(ValueError, match="1.5 is outside 0..1"): noise("symmetric", 1.5)
