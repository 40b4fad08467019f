"""What tests share: work that is done once for all of pytest's processes, and comparisons of runs to the bit."""
import signal
from contextlib import contextmanager
from unittest import mock

import numpy as np
import torch
from filelock import FileLock

from noisykit.record import Run

TIMES = ["seconds", "seconds_waiting", "seconds_in_sums"]   # columns of metrics.csv that no second run repeats

def once(tmp_path_factory, name, make):
    "The folder that `make(folder)` filled, in whichever of pytest's processes asked first; the others wait for it"
    here = tmp_path_factory.getbasetemp()
    base = here.parent if here.name.startswith("popen-") else here   # the folder of all processes that xdist started
    folder, done = base/name, base/f"{name}.done"
    with FileLock(base/f"{name}.lock"):
        if not done.exists():
            folder.mkdir(parents=True, exist_ok=True)
            make(folder)
            done.touch()
    return folder

@contextmanager
def one_thread():
    "Sums in one order, as in the processes that tests start"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try: yield
    finally: torch.set_num_threads(threads)

@contextmanager
def told_to_stop(cls, folder, epoch, step):
    "SIGTERM arrives while the run in `folder`, of method `cls`, takes the step after so many others of an epoch"
    own = cls.step
    def told(self, batch):
        here = (self.trainer.run.folder, batch.epoch, batch.step) == (folder, epoch, step)
        if here: signal.raise_signal(signal.SIGTERM)
        return own(self, batch)
    with mock.patch.object(cls, "step", told): yield

def checkpoint(folder): return torch.load(folder/"checkpoint.pt", weights_only=True)

def arrays(folder):
    "Every array of a record, by file and name"
    files = sorted((folder/"samples").glob("*.npz"))
    return {(f.name, name): array for f in files for name, array in np.load(f).items()}

def leaves(state, name="state"):
    "(place, value) of all that a saved state holds"
    pairs = state.items() if isinstance(state, dict) else enumerate(state) if isinstance(state, (list, tuple)) else None
    if pairs is None: yield name, state
    else:
        for key, value in pairs: yield from leaves(value, f"{name}.{key}")

def unequal(a, b):
    "Places where two states differ, in a single bit or in what there is"
    a, b = dict(leaves(a)), dict(leaves(b))
    def same(x, y): return torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y
    return [k for k in dict.fromkeys([*a, *b]) if k not in a or k not in b or not same(a[k], b[k])]

def distances(a, b):
    "Place -> how far two states are apart, relative to the second one's size; what is not a float must be the same"
    a, b = dict(leaves(a)), dict(leaves(b))
    assert a.keys() == b.keys()
    def numbers(x): return torch.as_tensor(x, dtype=torch.float64)
    floats = [k for k, v in b.items() if isinstance(v, float) or isinstance(v, torch.Tensor) and v.is_floating_point()]
    assert not unequal(*({k: v for k, v in s.items() if k not in floats} for s in (a, b)))
    def apart(x, y): return float((x - y).norm()/y.norm().clamp(min=1e-12))
    return {k: apart(numbers(a[k]), numbers(b[k])) for k in floats}

def assert_same_run(folder, whole):
    "Checkpoint, metrics and record are those of the uninterrupted run, to the last bit, and nothing else is left"
    assert unequal(checkpoint(folder), checkpoint(whole)) == []
    mine, theirs = arrays(folder), arrays(whole)
    assert mine.keys() == theirs.keys()
    different = [k for k in theirs if mine[k].tobytes() != theirs[k].tobytes()]
    assert different == []
    ours, his = (Run(f).metrics.drop(columns=TIMES, errors="ignore") for f in (folder, whole))
    assert ours.equals(his)
    assert (folder/"labels.csv").read_bytes() == (whole/"labels.csv").read_bytes()
    assert list(folder.rglob(".*.tmp*")) == []
