"""How many labels are wrong, from a review: what is sampled, what the interval holds, and what is said."""
import numpy as np
import pandas as pd
import pytest

from noisykit.audit.estimate import (Errors, errors_words, estimate_errors, rank_bands, review_sample,
                                     simulate_reviews, wrong_labels)

def ranked(size, share, separation):
    "Wrong labels in the order of noisy scores"
    rng = np.random.default_rng(0)
    wrong = rng.permutation(size) < round(share*size)
    return wrong[np.argsort(-(rng.standard_normal(size) + separation*wrong))]

# share of wrong labels, how well they are ranked
RANKINGS = [(.005, 0), (.005, 3), (.05, 1), (.05, 3), (.2, 0), (.2, 3), (.4, 1)]

@pytest.mark.parametrize("share, separation", RANKINGS)
def test_the_interval_holds_the_truth(share, separation):
    "In about nine of ten reviews, whatever the ranking is worth"
    said = simulate_reviews(ranked(3000, share, separation), reviews=80)
    assert said["coverage"] >= .78
    assert 0 < said["width"] < .25

@pytest.mark.parametrize("size", [1, 2, 3, 59, 60, 61, 1000])
def test_samples_of_small_and_large_rankings(size):
    ranking = pd.DataFrame(dict(image=np.arange(size)))
    sample = review_sample(ranking, 60)
    assert len(sample) == min(60, size) and sample.image.is_unique
    assert sample.chance.between(0, 1, inclusive="right").all()
    assert rank_bands(size)[-1] == size
    everything = simulate_reviews(np.arange(size) % 3 == 0, reviews=2, size=size)
    assert everything["coverage"] == 1 and everything["width"] == 0

def test_only_the_sample_says_how_many_are_wrong():
    "Somebody who accepts only what is wrong at the top adds what was found, and nothing to the shares"
    ranking = pd.DataFrame(dict(image=np.arange(2000)))
    rows = review_sample(ranking).index.to_numpy()
    wrong = np.full(2000, np.nan)
    wrong[rows] = 0
    before = estimate_errors(wrong, rows)
    more = np.setdiff1d(np.arange(40), rows)
    wrong[more] = 1
    after = estimate_errors(wrong, rows)
    assert after.found == len(more) and after.number[0] <= before.number[0] + len(more)
    assert after.looked == 60 + len(more)
    wrong[rows[0]] = np.nan
    with pytest.raises(ValueError, match="1 of the 60 images of the sample are undecided"):
        estimate_errors(wrong, rows)

def test_nothing_found_is_not_nothing_left():
    rows = review_sample(pd.DataFrame(dict(image=np.arange(2000)))).index.to_numpy()
    wrong = np.where(np.isin(np.arange(2000), rows), 0, np.nan)
    errors = estimate_errors(wrong, rows)
    assert errors.found == 0 and errors.number[2] > 20

def errors_with(next_ten): return Errors(100, 60, 3, (5, 3, 9), (2, 0, 6), next_ten)

@pytest.mark.parametrize("next_ten, worth, said", [
    (10, 20, "go on"), (.5, 20, "go on"), (.4, 20, "stop"), (.4, 30, "go on"), (0, 1000, "next to none")])
def test_advice(next_ten, worth, said):
    "It is worth going on where the next images hold one wrong label in `worth`"
    assert said in errors_words(errors_with(next_ten), worth)[-1]

def test_what_decisions_say():
    ranking = pd.DataFrame(dict(image=list("abcd")))
    decisions = pd.DataFrame(dict(image=list("bda"), decision=["reject", "remove", "another"]))
    assert wrong_labels(ranking, decisions).tolist()[:2] == [1, 0]
    assert np.isnan(wrong_labels(ranking, decisions)[2])
