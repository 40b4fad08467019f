"A run that is kept in memory means what a run means: whoever takes a `Run` may be given a `CachedRun`."
import numpy as np
import pytest
from conftest import SMALL

from noisykit.detection.detectors import detect
from noisykit.detection.dynamics import channels
from noisykit.record import CachedRun, Run, tabulate_runs
from noisykit.run import run_method

@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("record")/"run"
    return run_method(method="l2r", keep_probs=True, quiet=True, run_dir=str(folder), **SMALL | dict(epochs=3))

def test_samples(run):
    "All epochs without an epoch, one with it; -1, 'final', what is not there"
    kept = CachedRun(run.folder)
    for name in run.fields():
        for epoch in (None, 1, -1): assert np.array_equal(kept.samples(name, epoch), run.samples(name, epoch))
        assert np.array_equal(kept.samples(name), run.samples(name))
    assert np.array_equal(kept.samples("loss", "final"), run.samples("loss", "final"))
    for r in (kept, run):
        with pytest.raises(KeyError, match="no 'beta' of epoch 2"): r.samples("beta", 2)

def test_whoever_reads_runs(run):
    "Dynamics, detectors and tables are the same"
    kept = CachedRun(run.folder)
    for theirs, ours in zip(channels(run), channels(kept)): assert np.array_equal(theirs, ours)
    for name in ("aum", "loss", "forgetting", "variability"): assert detect(kept, name).equals(detect(run, name))
    assert tabulate_runs([kept]).equals(tabulate_runs([run]))
    assert len(kept._arrays) <= kept.most

def test_no_whole_epoch(run, tmp_path):
    "Each of them says it in the same words"
    (tmp_path/"run").mkdir()
    for name in ("config.yaml", "labels.csv", "env.json"): (tmp_path/"run"/name).write_bytes((run.folder/name).read_bytes())
    for kind in (Run, CachedRun):
        begun = kind(tmp_path/"run")
        with pytest.raises(ValueError, match="has no whole epoch yet"): tabulate_runs([begun])
        assert not begun.has("loss") and begun.samples("loss").shape == (0, len(run.labels)) and not begun.finished
