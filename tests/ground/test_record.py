"""A `CachedRun` keeps what it has read in memory. Whatever takes a `Run` gives the same with a `CachedRun`."""
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
    "All epochs where no epoch is named, one where it is, the last (-1), 'final', and one that is not there"
    kept = CachedRun(run.folder)
    for name in run.fields():
        for epoch in (None, 1, -1): assert np.array_equal(kept.samples(name, epoch), run.samples(name, epoch))
        assert np.array_equal(kept.samples(name), run.samples(name))   # the second time from memory
    assert np.array_equal(kept.samples("loss", "final"), run.samples("loss", "final"))
    for either in (kept, run):
        with pytest.raises(KeyError, match="no 'beta' of epoch 2"): either.samples("beta", 2)

def test_functions_that_read_runs(run):
    "Dynamics, detectors and tables are the same"
    kept = CachedRun(run.folder)
    for expected, found in zip(channels(run), channels(kept)): assert np.array_equal(expected, found)
    for name in ("aum", "loss", "forgetting", "variability"): assert detect(kept, name).equals(detect(run, name))
    assert tabulate_runs([kept]).equals(tabulate_runs([run]))
    assert len(kept._arrays) <= kept.most

@pytest.mark.parametrize("kind", [Run, CachedRun])
def test_no_whole_epoch(run, tmp_path, kind):
    (tmp_path/"run").mkdir()
    for name in ("config.yaml", "labels.csv", "env.json"):
        (tmp_path/"run"/name).write_bytes((run.folder/name).read_bytes())
    begun = kind(tmp_path/"run")
    with pytest.raises(ValueError, match="has no whole epoch yet"): tabulate_runs([begun])
    assert not begun.has("loss")
    assert begun.samples("loss").shape == (0, len(run.labels))
    assert not begun.finished
