"""Detectors against hand-computed numbers and against the packages that publish them, on constructed and on real records."""
import json, math, re, shutil, sys
from pathlib import Path

import numpy as np, pandas as pd, pytest, torch, yaml
from aum import AUMCalculator
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from torch import nn

from conftest import papermill, tree
from noisykit.errors import sentence
from noisykit.detection.detectors import common_labels, detect, detect_all, open_runs, suggest, write_scores
from noisykit.detection.measures import measure, with_intervals
from noisykit.data.noise import make_noise
from noisykit.record import EpochRecord, Run, write_samples
from noisykit.run import run_method

def constructed(folder, given, true=None, epochs=(), split=None, classes=10, threshold=None, **final):
    "A run folder with these labels, a dict of fields for each epoch, and fields of `final_valid`"
    folder, given = Path(folder), np.asarray(given)
    true = given if true is None else np.asarray(true)
    (folder/"samples").mkdir(parents=True)
    (folder/"config.yaml").write_text(yaml.safe_dump(dict(config=dict(method="ce", epochs=len(epochs), threshold=threshold), presets={})))
    (folder/"data.json").write_text(json.dumps(dict(classes=[str(c) for c in range(classes)] + ["threshold"]*(threshold is not None))))
    pd.DataFrame(dict(index=range(len(given)), split="train" if split is None else split, true=true, given=given, flipped=given != true)).to_csv(folder/"labels.csv", index=False)
    run = Run(folder)
    for e, values in enumerate(epochs, 1): write_samples(run, e, {k: np.asarray(v) for k, v in values.items()})
    if final: write_samples(run, "final_valid", {k: np.asarray(v) for k, v in final.items()})
    pd.DataFrame(dict(epoch=range(1, len(epochs) + 1))).to_csv(folder/"metrics.csv", index=False)
    return run

def by_index(run, name, **options): return detect(run, name, **options).sort_values("index").score.to_numpy()

@pytest.fixture(scope="module")
def noisy_digits():
    d = load_digits()
    return torch.tensor(d.data/16, dtype=torch.float32), make_noise(d.target, 10, "symmetric", .3)

def test_aum_is_that_of_the_aum_package(tmp_path, noisy_digits):
    x, noise = noisy_digits
    given, package = torch.from_numpy(noise.given), AUMCalculator(str(tmp_path), compressed=True)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 100), nn.ReLU(), nn.Linear(100, 10))
    opt, epochs = torch.optim.SGD(net.parameters(), .2, momentum=.9), []
    for _ in range(8):
        record = EpochRecord(given)
        for rows in torch.randperm(len(x)).split(64):
            logits = net(x[rows])
            nn.functional.cross_entropy(logits, given[rows]).backward(); opt.step(); opt.zero_grad()
            record.add(rows, logits=logits); package.update(logits.detach(), given[rows], rows.tolist())
        epochs.append(record.values())
    run = constructed(tmp_path/"run", noise.given, noise.true, epochs)
    theirs = np.array([package.sums[i]/package.counts[i] for i in range(len(x))])
    assert np.abs(-by_index(run, "aum") - theirs).max() < 1e-12 # both add up the same float32 margins in float64
    assert measure(detect(run, "aum"))["roc_auc"] > .9
    package.finalize()
    assert pd.read_csv(tmp_path/"aum_values.csv").sample_id[::-1].tolist()[:50] == detect(run, "aum")["index"].tolist()[:50] # theirs is sorted the other way round

def test_by_hand(tmp_path):
    given = [0, 0, 1, 1]
    prediction = [[0, 1, 1, 0], [1, 1, 1, 1], [0, 0, 1, 1], [1, 1, 1, 0]] # epoch by epoch
    p = np.array([[.9, .2, .5, .1], [.4, .2, .5, .8], [.9, .6, .5, .7], [.2, .2, .5, .3]], np.float32)
    run = constructed(tmp_path/"run", given, [0, 1, 1, 0], [dict(prediction=np.array(a, np.int16), given_prob=b, loss=-np.log(b), margin=10*b - 5) for a, b in zip(prediction, p)], classes=2)
    assert by_index(run, "forgetting").tolist() == [2, 1, 0, 1] # the second was learnt once and forgotten once
    assert np.allclose(by_index(run, "confidence"), [1 - .6, 1 - .3, .5, 1 - .475])
    assert np.allclose(by_index(run, "variability"), [np.sqrt((.3**2 + .2**2 + .3**2 + .4**2)/4), np.sqrt((3*.1**2 + .3**2)/4), 0, np.sqrt((.375**2 + .325**2 + .225**2 + .175**2)/4)], atol=1e-7)
    assert np.allclose(by_index(run, "loss"), -np.log([.2, .2, .5, .3]), atol=1e-6) and np.allclose(by_index(run, "aum"), 5 - 10*p.mean(0), atol=1e-6)
    assert by_index(run, "truth").tolist() == [0, 1, 0, 1] and set(detect(run, "truth")["index"][:2]) == {1, 3}
    assert detect(run, "aum").sort_values("index").suggested.tolist() == [1, 1, -1, 0] # never predicted otherwise: no suggestion
    never = constructed(tmp_path/"never", [0, 1], [0, 1], [dict(prediction=np.array([0, 0])), dict(prediction=np.array([0, 0])), dict(prediction=np.array([1, 0]))], classes=2)
    assert by_index(never, "forgetting").tolist() == [1, 3]

def test_weights_of_the_epochs_that_have_some(tmp_path):
    nothing = np.full(2, np.nan, np.float32)
    run = constructed(tmp_path/"run", [0, 1], [0, 0], [dict(weight=nothing), dict(weight=np.array([1., 0.])), dict(weight=np.array([.5, .25]))], classes=2)
    assert by_index(run, "weight").tolist() == [-.75, -.125]

def test_threshold_samples(tmp_path):
    "In each run 200 of 1,000 samples are threshold samples; a sample is bad below all but 1 % of them, so with at most 2 above it is not"
    given, rng = np.arange(1000) % 5, np.random.default_rng(0)
    margins, tags = [rng.normal(3, 1, 1000), rng.normal(3, 1, 1000)], [np.arange(0, 200), np.arange(200, 400)]
    for m, t in zip(margins, tags): m[t] = np.linspace(-2, 1, 200) # the 3rd largest is 0.9698...
    margins[0][[500, 501, 502]], margins[1][[500, 501, 502]] = [-3, -3, .975], [-3, 3, -3] # bad in both; in the first only; above all but 2 in the first
    margins[1][0] = -3; margins[0][0] = -5 # a threshold sample of the first run that the second calls bad
    margins[1][1] = 5; margins[0][1] = -5 # and one that it does not
    runs = []
    for k, (m, t) in enumerate(zip(margins, tags)):
        y = given.copy(); y[t] = 5
        runs.append(constructed(tmp_path/f"{k}", y, given, [dict(margin=m - 1, prediction=given), dict(margin=m + 1, prediction=given)], classes=5, threshold=k))
    table = detect(runs, "aum").set_index("index").sort_index()
    assert len(table) == 1000 and (table.given == given).all() and not table.flipped.any() # the extra class is nobody's given label
    def bad(k, i): return (margins[k][tags[k]] > margins[k][i]).mean() > .01
    expected = [all(bad(k, i) for k in (0, 1) if i not in tags[k]) for i in range(1000)]
    assert table.called.tolist() == expected and sum(expected) >= 2
    assert table.called[[500, 501, 502, 0, 1]].tolist() == [True, False, False, True, False]
    assert np.isclose(table.score[500], 3) and np.isclose(table.score[0], 3) and np.isclose(table.score[1], -5) # means over the runs where it is none
    alone = detect(runs[0], "aum")
    assert len(alone) == 800 and alone.set_index("index").called[[500, 501, 502]].tolist() == [True, True, False]
    assert "called" not in detect(constructed(tmp_path/"plain", given, given, [dict(margin=margins[0])], classes=5), "aum")

@pytest.fixture(scope="module")
def folds(tmp_path_factory, noisy_digits):
    "Out-of-fold probabilities of scikit-learn's logistic regression, in two run folders that hold out a half each"
    x, noise = noisy_digits
    p = cross_val_predict(LogisticRegression(max_iter=200), x.numpy(), noise.given, cv=2, method="predict_proba")
    half = np.arange(len(x)) % 2
    d, runs = tmp_path_factory.mktemp("folds"), []
    for k in (0, 1):
        v = half == k
        runs.append(constructed(d/f"{k}", noise.given, noise.true, [dict(prediction=noise.given[~v])], np.where(v, "valid", "train"), probs=p[v].astype(np.float16), label=noise.given[v]))
    return runs, p, noise

def test_out_of_fold(folds):
    import cleanlab
    runs, p, noise = folds
    q = p.astype(np.float16).astype(float)
    table = detect(runs, "self_confidence").set_index("index").sort_index()
    assert np.allclose(1 - table.score, cleanlab.rank.get_self_confidence_for_each_label(noise.given, q))
    other = q.copy(); other[np.arange(len(q)), noise.given] = -1
    assert (table.suggested == other.argmax(1)).all() and measure(table)["roc_auc"] > .9
    table = detect(runs, "confident").set_index("index").sort_index()
    q /= q.sum(1, keepdims=True)
    assert (table.called == cleanlab.filter.find_label_issues(noise.given, q, n_jobs=1)).all()
    assert np.allclose(1 - table.score, cleanlab.rank.get_label_quality_scores(noise.given, q, method="normalized_margin", adjust_pred_probs=True))
    m = measure(table)
    assert m["precision"] > .8 and m["recall"] > .8 and m["roc_auc"] > .9
    one = detect(runs[:1], "self_confidence")
    assert sorted(one["index"]) == list(range(0, len(p), 2)) # what a run did not hold out has no score

def test_without_cleanlab(folds, monkeypatch):
    for name in [m for m in sys.modules if m.split(".")[0] == "cleanlab"]: monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cleanlab", None) # as if it were not installed
    assert "noisykit[cleanlab]" in sentence(detect, folds[0], "confident")
    tables, left_out = detect_all(folds[0])
    assert "self_confidence" in tables and "noisykit[cleanlab]" in left_out["confident"]

def test_suggestions(tmp_path):
    given = [0, 1, 2]
    full = [dict(prediction=[0, 1, 2], probs=np.array([[.6, .3, .1], [.1, .8, .1], [.4, .2, .4]], np.float16)), dict(prediction=[1, 1, 2], probs=np.array([[.2, .3, .5], [.5, .4, .1], [.4, .3, .3]], np.float16))]
    assert suggest([constructed(tmp_path/"full", given, epochs=full, classes=3)]).tolist() == [1, 0, 0] # sums .6 of each of both: the first; .6, .8
    assert suggest([constructed(tmp_path/"none", given, epochs=[dict(prediction=e["prediction"]) for e in full], classes=3)]).tolist() == [1, -1, -1]
    top = [dict(prediction=[0, 1, 2], probs=np.array([[.6, .3], [.8, .2], [.5, .4]], np.float16), classes=np.array([[0, 2], [1, 0], [1, 2]], np.int16)),
           dict(prediction=[0, 1, 2], probs=np.array([[.7, .2], [.6, .3], [.9, .05]], np.float16), classes=np.array([[0, 1], [1, 2], [2, 0]], np.int16))]
    assert suggest([constructed(tmp_path/"top", given, epochs=top, classes=3)]).tolist() == [2, 2, 1]

def test_several_runs(tmp_path):
    a = constructed(tmp_path/"a", [0, 1, 0, 1], epochs=[dict(loss=[1., 2, 3, 4], prediction=[0]*4)], classes=2)
    b = constructed(tmp_path/"b", [0, 1, 0, 0], [0, 1, 0, 0], [dict(loss=[5., 6, 7], prediction=[0]*3)], ["train", "train", "train", "probe"], classes=2) # the probe's clean label is no contradiction
    assert by_index([a, b], "loss").tolist() == [3, 4, 5, 4] and by_index([b, a], "loss").tolist() == [3, 4, 5, 4]
    assert common_labels([b, a]).given.tolist() == [0, 1, 0, 1] and len(detect(b, "loss")) == 3
    c = constructed(tmp_path/"c", [0, 0, 0, 1], [0, 1, 0, 1], [dict(loss=[1.]*4)], classes=2)
    d = constructed(tmp_path/"d", [0, 1, 0], epochs=[dict(loss=[1.]*3)], classes=2)
    for other in (c, d): assert f"{a.folder} and {other.folder}" in sentence(open_runs, [a, other])

def test_refusals(tmp_path):
    run = constructed(tmp_path/"run", [0, 1], epochs=[dict(loss=[1., 2], prediction=[0, 1])], classes=2)
    said = {name: sentence(detect, run, name) for name in ("aum", "confidence", "variability", "weight", "self_confidence", "confident", "truth")}
    for name, field in (("aum", "margin"), ("confidence", "given_prob"), ("variability", "given_prob"), ("weight", "weight")): assert f"keeps no {field!r}" in said[name]
    assert "val_fold" in said["self_confidence"] and said["self_confidence"] == said["confident"] and "no wrong label" in said["truth"]
    assert "did you mean 'aum'" in sentence(detect, run, "amu") and "did you mean 'seed'" in sentence(detect, run, "random", sed=1) and "a whole number" in sentence(detect, run, "random", seed=.5)
    assert "unknown option of detector 'loss'" in sentence(detect, run, "loss", seed=1) and "detector in options" in sentence(detect_all, run, ["loss"], dict(random={}))
    assert "no whole epoch" in sentence(detect, constructed(tmp_path/"begun", [0, 1], classes=2), "loss")
    assert "no run" in sentence(detect, tmp_path, "loss") and "no runs" in sentence(detect, [], "loss")
    assert all("\n" not in s for s in said.values())

def test_a_run_that_was_cut_off(tmp_path, l2r_run):
    "Killed after it had written the second epoch's samples, in the middle of the row"
    cut = tmp_path/"cut"
    shutil.copytree(l2r_run[1], cut)
    text = (cut/"metrics.csv").read_text()
    (cut/"metrics.csv").write_text(text[:-20])
    for p in cut.glob("samples/final*"): p.unlink()
    whole, run = Run(l2r_run[1]), Run(cut)
    assert len(run.metrics) == 1 and len(whole.metrics) == 2
    assert np.allclose(-by_index(run, "aum"), whole.samples("margin", 1)) and np.allclose(by_index(run, "loss"), whole.samples("loss", 1))
    assert not np.allclose(by_index(run, "aum"), by_index(whole, "aum"))
    tables, left_out = detect_all(run)
    assert {"aum", "weight", "forgetting"} <= set(tables) and {"confident", "self_confidence"} <= set(left_out)
    (cut/"metrics.csv").write_text(text.splitlines()[0] + "\n")
    assert "no whole epoch" in sentence(detect, Run(cut), "aum")

def test_scores_and_measures_read_back(tmp_path, l2r_run):
    run = tmp_path/"run"
    shutil.copytree(l2r_run[1], run)
    run = Run(run)
    t = detect(run, "aum")
    assert pd.read_csv(write_scores(run, "aum", t)).equals(t) and t.score.is_monotonic_decreasing and len(t) == len(run.labels)
    rows = pd.DataFrame([dict(detector="random", seed=s) | measure(detect(run, "random", seed=s)) for s in range(30)])
    got = with_intervals(rows, "detector").loc[("random", "roc_auc")]
    assert got.low < .5 < got.high and got.high - got.low < .05
    nothing = measure(t.assign(flipped=False))
    assert math.isnan(nothing["roc_auc"]) and "none of the" in nothing["reason"]

def test_run_detector(tmp_path, l2r_run):
    run, out = tmp_path/"run", tmp_path/"out.ipynb"
    shutil.copytree(l2r_run[1], run)
    before = tree(run)
    done = papermill("run_detector", out, runs=run, top=5)
    assert done.returncode == 0, done.stderr[-2000:]
    allowed, refused = detect_all(run)
    assert {p.stem for p in (run/"scores").glob("*.csv")} == {*allowed, "measures"} and {"aum", "weight", "loss"} <= set(allowed)
    measured = pd.read_csv(run/"scores"/"measures.csv", index_col=0)
    for n, t in allowed.items():
        assert pd.read_csv(run/"scores"/f"{n}.csv").equals(t)
        assert np.isclose(measured.roc_auc[n], measure(t)["roc_auc"])
    text = out.read_text()
    for n in refused: assert f"{n} left out" in text
    assert {k: v for k, v in tree(run).items() if k != "figures/detectors.png" and not k.startswith("scores/")} == before # nothing else was touched

def test_run_detector_without_known_flips_and_with_mistakes(tmp_path, l2r_run):
    run, out = tmp_path/"run", tmp_path/"out.ipynb"
    shutil.copytree(l2r_run[1], run)
    labels = pd.read_csv(run/"labels.csv")
    labels.assign(true=labels.given, flipped=False).to_csv(run/"labels.csv", index=False)
    done = papermill("run_detector", out, yaml="detectors: [aum, loss]", runs=run, top=5)
    assert done.returncode == 0 and {p.name for p in (run/"scores").iterdir()} == {"aum.csv", "loss.csv"} and "rankings only" in out.read_text()
    shutil.rmtree(run/"scores")
    for wrong, said in ((dict(yaml="detectors: [aum, amu]"), "did you mean 'aum'"), (dict(runs=tmp_path), "no config.yaml")):
        done = papermill("run_detector", out, **{"runs": run, **wrong})
        assert done.returncode and re.search(re.escape(said), done.stderr), (wrong, done.stderr[-500:])
    assert not (run/"scores").exists()

REAL = dict(dataset="digits", noise="symmetric", noise_rate=.2, probe_size=0, quiet=True, device="cpu")

def test_real_threshold_runs(tmp_path):
    runs = [run_method(run_dir=tmp_path/f"{k}", threshold=k, epochs=8, **REAL) for k in (0, 1)]
    tagged = [set(r.all_labels["index"][r.all_labels.given == 10]) for r in runs]
    assert len(tagged[0]) == len(tagged[1]) == 143 and not tagged[0] & tagged[1]
    table = detect(runs, "aum")
    m = measure(table)
    assert len(table) == 1437 and table.given.max() == 9 and np.isclose(table.flipped.mean(), .2, atol=.05) and table.suggested.max() == 9
    assert m["roc_auc"] > .95 and m["recall"] > .6 and m["precision"] > .6, m
    assert len(detect(runs[0], "aum")) == len(detect(runs[0], "truth")) == 1437 - 143

@pytest.fixture(scope="module")
def real_folds(tmp_path_factory):
    d = tmp_path_factory.mktemp("real_folds")
    return [run_method(run_dir=d/f"{k}", val_share=1/3, val_fold=k, epochs=5, **REAL) for k in range(3)]

def test_real_folds(real_folds, tmp_path):
    tables, left_out = detect_all(real_folds)
    assert {"confident", "self_confidence", "aum"} <= set(tables) and "weight" in left_out
    for n in ("confident", "self_confidence", "aum"):
        m = measure(tables[n])
        assert m["samples"] == 1437 and m["roc_auc"] > .95, (n, m)
    m = measure(tables["confident"])
    assert m["recall"] > .7 and m["precision"] > .7, m
    flips = tables["aum"][tables["aum"].flipped]
    assert (flips.suggested == flips.true).mean() > .8
    last = real_folds[2]
    p = last.samples("probs", "final_valid").astype(float)
    one = tables["self_confidence"].set_index("index").score[last.valid["index"]]
    assert np.allclose(one, 1 - p[np.arange(len(p)), last.valid.given], atol=1e-6) # each held out by one run alone
    done = papermill("run_detector", tmp_path/"out.ipynb", yaml=f"runs: [{', '.join(str(r.folder) for r in real_folds)}]\ndetectors: [confident, aum]", top=5)
    assert done.returncode == 0, done.stderr[-2000:]
    text = (tmp_path/"out.ipynb").read_text()
    assert f"confident calls {tables['confident'].called.sum():,} of 1,437 mislabelled: precision {m['precision']:.1%}, recall {m['recall']:.1%}" in text
    assert pd.read_csv(real_folds[0].folder/"scores"/"confident.csv").equals(tables["confident"]) and not (real_folds[1].folder/"scores").exists()
