"""Training dynamics in the record, folds, removal by scores, AUM's threshold samples, and data without a test set."""
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from conftest import SMALL, papermill
from noisykit.errors import Refused, sentence
from noisykit.evaluation import evaluate_run
from noisykit.record import Run
from noisykit.resolve import resolve
from noisykit.run import run_method

BASE = SMALL | dict(method="ce", probe_size=0, epochs=2, quiet=True)

def train(folder, **settings): return run_method(run_dir=str(folder), **BASE | settings)

def refusal(**settings):
    with pytest.raises(Refused) as caught: run_method(**BASE | settings)
    return str(caught.value)

@pytest.fixture(scope="module")
def plain(tmp_path_factory): return train(tmp_path_factory.mktemp("plain")/"run", keep_probs=True)

# ---- what is kept of each epoch

def test_the_largest_probabilities_are_those_of_all(plain, tmp_path):
    top = train(tmp_path/"top", keep_probs=3)
    for epoch in (1, 2):
        every, few, classes = plain.samples("probs", epoch), top.samples("probs", epoch), top.samples("classes", epoch)
        assert few.shape == classes.shape == (len(every), 3)
        assert few.dtype == np.float16
        assert classes.dtype == np.int16
        assert (np.take_along_axis(every, classes.astype(int), 1) == few).all()
        assert (few == np.sort(every, 1)[:, :-4:-1]).all()
    assert (top.samples("loss") == plain.samples("loss")).all()

def test_more_probabilities_than_there_are(tmp_path):
    assert train(tmp_path/"all", keep_probs=99).samples("probs", 1).shape[1] == 10

def test_an_evaluation_after_each_epoch_fills_the_record(plain, tmp_path):
    "Digits are not augmented: what the last epoch left is what the final network says"
    run = train(tmp_path/"run", keep_probs=True, dynamics="evaluation")
    assert (run.metrics.test_accuracy == plain.metrics.test_accuracy).all()   # the same training
    assert not np.allclose(run.samples("loss"), plain.samples("loss"))
    assert np.allclose(run.samples("loss", 2), run.samples("loss", "final"), atol=1e-6)
    assert np.allclose(run.samples("probs", 2).max(1), run.samples("max_prob", "final"), atol=1e-3)

# ---- folds

def test_folds_hold_every_sample_out_once(tmp_path):
    def fold(number): return train(tmp_path/str(number), epochs=1, val_share=1/3, val_fold=number)
    runs = [fold(number) for number in range(3)]
    held = np.concatenate([run.valid["index"] for run in runs])
    assert sorted(held) == list(range(len(runs[0].all_labels)))
    for run in runs:
        assert run.samples("probs", "final_valid").shape == (len(run.valid), 10)
        assert (run.samples("label", "final_valid") == run.valid.given).all()
        right = run.samples("prediction", "final_valid") == run.valid.given
        assert abs(right.mean() - run.metrics.valid_accuracy.iloc[-1]) < 1e-6
    (runs[1].folder/"samples/final_valid.npz").unlink()
    fold(1)   # what is missing is made again
    assert runs[1].readable("final_valid")

def test_folds_that_are_none():
    assert "val_fold 3 must be 0 to 2" in refusal(val_share=1/3, val_fold=3)
    assert "set val_share" in refusal(val_fold=1)

# ---- removal by scores

def test_retraining_without_the_highest_scores(plain, tmp_path):
    labels = plain.labels
    scores = pd.DataFrame(dict(index=labels["index"], score=labels.flipped.astype(float)))
    scores.to_csv(tmp_path/"truth.csv", index=False)
    removal = dict(scores_file=str(tmp_path/"truth.csv"), remove_ratio=.5)
    run = train(tmp_path/"run", **removal)
    count = len(labels)
    kept = count - round(count*.5)
    assert len(run.labels) == kept
    assert (run.all_labels.split == "removed").sum() == count - kept
    assert run.labels.flipped.sum() == max(0, labels.flipped.sum() - (count - kept))   # flips go first
    assert (run.all_labels.given == plain.all_labels.given).all()
    assert run.metrics.test_accuracy.iloc[-1] > .3
    again = train(tmp_path/"run", **removal)
    assert (again.labels == run.labels).all(axis=None)

def test_removals_that_are_refused(plain, tmp_path):
    scores = plain.labels[["index"]].assign(score=1.)
    scores.to_csv(tmp_path/"all.csv", index=False)
    scores[5:].to_csv(tmp_path/"short.csv", index=False)
    def said(file, ratio): return refusal(scores_file=str(tmp_path/file), remove_ratio=ratio)
    assert "go together" in refusal(remove_ratio=.2)
    assert "does not exist" in said("no.csv", .2)
    assert "no score for 5 of the" in said("short.csv", .2)
    assert "from 0 to 0.99" in said("all.csv", 1.)

# ---- threshold samples

def test_threshold_samples_have_a_class_of_their_own(plain, tmp_path):
    runs = [train(tmp_path/str(number), threshold=number) for number in (0, 1)]
    tagged = [set(run.labels["index"][run.labels.given == 10]) for run in runs]
    assert len(tagged[0]) == len(tagged[1]) == len(plain.labels)//10
    assert not tagged[0] & tagged[1]
    rest = ~plain.labels["index"].isin(tagged[0] | tagged[1])
    for run in runs:
        assert run.data["classes"][-1] == "threshold"
        assert (run.labels.given[rest] == plain.labels.given[rest]).all()
        assert (run.labels.true == plain.labels.true).all()
        assert evaluate_run(run.folder).accuracy[0] == pytest.approx(run.metrics.test_accuracy.iloc[-1])
    assert "from 0 to 1" in refusal(threshold=2)

# ---- settings

REFUSED = [
    (dict(keep_probs=-1), "at least 0"),
    (dict(dynamics="test"), "known: training, evaluation"),
    (dict(val_fold=-1), "at least 0"),
]

@pytest.mark.parametrize("settings, expected", REFUSED)
def test_refusals(settings, expected): assert expected in refusal(**settings)

def test_the_studys_presets():
    config, _ = resolve(study="td", dataset="cifar10", method="ce")
    assert (config.epochs, config.batch_size, config.lr, config.nesterov) == (200, 128, .1, True)
    assert (config.weight_decay, config.schedule["milestones"]) == (1e-4, [100, 150])
    assert (config.keep_probs, config.dynamics) == (True, "evaluation")
    config, _ = resolve(study="td_retrain", dataset="cifar100", method="ce", batch_size=204, keep_probs=5)
    assert (config.epochs, config.batch_size, config.schedule["milestones"]) == (300, 204, [150])
    assert (config.keep_probs, config.dynamics) == (5, "training")
    assert resolve(**vars(config))[0] == config   # a configuration given again

# ---- data without a test set

def test_a_run_without_a_test_set(tmp_path):
    rng = np.random.default_rng(0)
    for k, name in enumerate(("dark", "light")):
        (tmp_path/"own"/name).mkdir(parents=True)
        for i in range(12):
            pixels = (rng.random((20, 20, 3))*100 + 100*k).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path/"own"/name/f"{i}.png")
    done = papermill("run_method", tmp_path/"out.ipynb", "data_options: {hold_out: false, image_size: 16, workers: 0}",
                    method="ce", dataset="imagefolder", data_dir=tmp_path/"own", model="cnn", epochs=2, batch_size=8,
                    device="cpu", run_dir=tmp_path/"run")
    assert done.returncode == 0, done.stderr[-1500:]
    run = Run(tmp_path/"run")
    assert len(run.labels) == 24
    assert "test_accuracy" not in run.metrics
    assert not run.readable("final_test")
    assert "has no test set" in sentence(evaluate_run, run.folder)
