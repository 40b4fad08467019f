"""Training dynamics in the record, folds, removal by scores, AUM's threshold samples, and data without a test set."""
import numpy as np, pandas as pd, pytest
from PIL import Image

from conftest import SMALL, papermill
from noisykit.errors import sentence
from noisykit.evaluation import evaluate_run
from noisykit.record import Run
from noisykit.errors import Refused
from noisykit.resolve import resolve
from noisykit.run import run_method

BASE = dict(SMALL, method="ce", probe_size=0, epochs=2, quiet=True)

def refused(**settings):
    with pytest.raises(Refused) as e: run_method(**BASE | settings)
    return str(e.value)

@pytest.fixture(scope="module")
def plain(tmp_path_factory): return run_method(**BASE, keep_probs=True, run_dir=str(tmp_path_factory.mktemp("plain")/"run"))

def test_the_largest_probabilities_are_those_of_all(plain, tmp_path):
    top = run_method(**BASE, keep_probs=3, run_dir=str(tmp_path/"top"))
    for e in (1, 2):
        p, few, which = plain.samples("probs", e), top.samples("probs", e), top.samples("classes", e)
        assert few.shape == which.shape == (len(p), 3) and few.dtype == np.float16 and which.dtype == np.int16
        assert (np.take_along_axis(p, which.astype(int), 1) == few).all() and (few == np.sort(p, 1)[:, :-4:-1]).all()
    assert (top.samples("loss") == plain.samples("loss")).all()
    assert run_method(**BASE, keep_probs=99, run_dir=str(tmp_path/"all")).samples("probs", 1).shape[1] == 10   # more than there are

def test_an_evaluation_after_each_epoch_fills_the_record(plain, tmp_path):
    run = run_method(**BASE, keep_probs=True, dynamics="evaluation", run_dir=str(tmp_path/"run"))
    assert (run.metrics.test_accuracy == plain.metrics.test_accuracy).all()   # the same training
    assert not np.allclose(run.samples("loss"), plain.samples("loss"))
    # digits are not augmented: what the last epoch left is what the final network says
    assert np.allclose(run.samples("loss", 2), run.samples("loss", "final"), atol=1e-6) and np.allclose(run.samples("probs", 2).max(1), run.samples("max_prob", "final"), atol=1e-3)

def test_folds_hold_every_sample_out_once(tmp_path):
    runs = [run_method(**BASE | dict(epochs=1), val_share=1/3, val_fold=k, run_dir=str(tmp_path/str(k))) for k in range(3)]
    held = np.concatenate([r.valid["index"] for r in runs])
    assert sorted(held) == list(range(len(runs[0].all_labels)))
    for r in runs:
        assert r.samples("probs", "final_valid").shape == (len(r.valid), 10) and (r.samples("label", "final_valid") == r.valid.given).all()
        assert abs((r.samples("prediction", "final_valid") == r.valid.given).mean() - r.metrics.valid_accuracy.iloc[-1]) < 1e-6
        (r.folder/"samples/final_valid.npz").unlink()
    run_method(**BASE | dict(epochs=1), val_share=1/3, val_fold=1, run_dir=str(tmp_path/"1"))   # what is missing is made again
    assert runs[1].readable("final_valid")
    assert "val_fold 3 must be 0 to 2" in refused(val_share=1/3, val_fold=3) and "set val_share" in refused(val_fold=1)

def test_retraining_without_the_highest_scores(plain, tmp_path):
    L = plain.labels
    pd.DataFrame(dict(index=L["index"], score=L.flipped.astype(float))).to_csv(tmp_path/"truth.csv", index=False)
    run = run_method(**BASE, scores_file=str(tmp_path/"truth.csv"), remove_ratio=.5, run_dir=str(tmp_path/"run"))
    N, flips = len(L), L.flipped.sum()
    assert len(run.labels) == int(N*.5) and (run.all_labels.split == "removed").sum() == N - int(N*.5)
    assert run.labels.flipped.sum() == max(0, flips - (N - int(N*.5)))   # flips go first
    assert (run.all_labels.given == plain.all_labels.given).all() and run.metrics.test_accuracy.iloc[-1] > .3
    again = run_method(**BASE, scores_file=str(tmp_path/"truth.csv"), remove_ratio=.5, run_dir=str(tmp_path/"run"))
    assert (again.labels == run.labels).all(axis=None)
    assert "go together" in refused(remove_ratio=.2) and "does not exist" in refused(scores_file=str(tmp_path/"no.csv"), remove_ratio=.2)
    L[["index"]].assign(score=1.)[5:].to_csv(tmp_path/"short.csv", index=False)
    assert "no score for 5 of the" in refused(scores_file=str(tmp_path/"short.csv"), remove_ratio=.2)
    assert "from 0 to 0.99" in refused(scores_file=str(tmp_path/"truth.csv"), remove_ratio=1.)

def test_threshold_samples_have_a_class_of_their_own(plain, tmp_path):
    runs = [run_method(**BASE, threshold=k, run_dir=str(tmp_path/str(k))) for k in (0, 1)]
    tagged = [set(r.labels["index"][r.labels.given == 10]) for r in runs]
    assert len(tagged[0]) == len(tagged[1]) == len(plain.labels)//10 and not tagged[0] & tagged[1]
    rest = ~plain.labels["index"].isin(tagged[0] | tagged[1])
    for r in runs:
        assert r.data["classes"][-1] == "threshold" and (r.labels.given[rest] == plain.labels.given[rest]).all() and (r.labels.true == plain.labels.true).all()
        assert evaluate_run(r.folder).accuracy[0] == pytest.approx(r.metrics.test_accuracy.iloc[-1])
    assert "from 0 to 1" in refused(threshold=2)

@pytest.mark.parametrize("settings, expected", [(dict(keep_probs=-1), "at least 0"), (dict(dynamics="test"), "known: training, evaluation"), (dict(val_fold=-1), "at least 0")])
def test_refusals(settings, expected): assert expected in refused(**settings)

def test_the_studys_presets():
    c, presets = resolve(study="td", dataset="cifar10", method="ce")
    assert (c.epochs, c.batch_size, c.lr, c.nesterov, c.weight_decay, c.schedule["milestones"], c.keep_probs, c.dynamics) == (200, 128, .1, True, 1e-4, [100, 150], True, "evaluation")
    c, _ = resolve(study="td_retrain", dataset="cifar100", method="ce", batch_size=204, keep_probs=5)
    assert (c.epochs, c.batch_size, c.schedule["milestones"], c.keep_probs, c.dynamics) == (300, 204, [150], 5, "training")
    assert resolve(**{k: v for k, v in vars(c).items()})[0] == c   # a configuration given again

def test_a_run_without_a_test_set(tmp_path):
    rng = np.random.default_rng(0)
    for k, name in enumerate(("dark", "light")):
        (tmp_path/"own"/name).mkdir(parents=True)
        for i in range(12): Image.fromarray((rng.random((20, 20, 3))*100 + 100*k).astype(np.uint8)).save(tmp_path/"own"/name/f"{i}.png")
    done = papermill("run_method", tmp_path/"out.ipynb", "data_options: {hold_out: false, image_size: 16, workers: 0}", method="ce", dataset="imagefolder", data_dir=tmp_path/"own",
                     model="cnn", epochs=2, batch_size=8, device="cpu", run_dir=tmp_path/"run")
    assert done.returncode == 0, done.stderr[-1500:]
    run = Run(tmp_path/"run")
    assert len(run.labels) == 24 and "test_accuracy" not in run.metrics and not run.readable("final_test")
    assert "has no test set" in sentence(evaluate_run, run.folder)
