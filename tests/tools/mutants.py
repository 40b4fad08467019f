"""Do the contract tests notice a mechanism that is broken? One mechanism at a time is broken on purpose in a copy of
the tree, in the exported module, and the tests that should notice are run there. Some minutes; nothing here is changed.

    python tests/tools/mutants.py             all of them; exit status 1 if one survives
    python tests/tools/mutants.py detector    those with the word in their name
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
METHODS, PROCESSES = "tests/contract/test_methods.py", "tests/contract/test_two_processes.py"
GOES_ON = f"{METHODS}::test_it_goes_on_to_the_same_bits"
LOOKS = f"{METHODS}::test_looking_ahead_moves_nothing_and_is_exact"
ARE_ONE = f"{PROCESSES}::test_two_processes_are_one"
DATASETS, LAWS, DETECTORS = (f"tests/contract/test_{what}.py" for what in ("datasets", "noise_laws", "detectors"))

@dataclass
class Mutant:
    name:str # what is broken
    module:str # below noisykit/
    whole:str # code that is there once
    broken:str # what takes its place
    tests:list # that should notice

MUTANTS = [
    Mutant("a stopped epoch goes on with its first batches", "train/trainer.py",
           "epoch.batches[len(epoch.losses):]", "epoch.batches[:len(epoch.batches) - len(epoch.losses)]",
           [f"{GOES_ON}[ce-2-2]"]),
    Mutant("after a stop steps are counted from 0", "train/trainer.py",
           "= state['epoch'], state['steps'], state['middle']", "= state['epoch'], 0, state['middle']",
           [f"{GOES_ON}[l2r-2-2]"]),
    Mutant("what a method remembers is not taken up again", "train/trainer.py",
           "part.load_state_dict(own)", "pass", [f"{GOES_ON}[mixup_soft-2-2]"]),
    Mutant("the row of metrics is written before the samples", "train/trainer.py",
           "    if values: write_samples(run, row['epoch'], values)\n    write_metrics(run, row)",
           "    write_metrics(run, row)\n    if values: write_samples(run, row['epoch'], values)",
           ["tests/runs/test_kills.py::test_killed_in_a_step_while_writing_and_between_two_files"]),
    Mutant("a value lands in another sample's record", "record.py",
           "self.arrays[name][rows] = values", "self.arrays[name][rows.roll(1)] = values",
           [f"{DETECTORS}::test_easy_flips_are_found[loss]"]),
    Mutant("the meta-gradient has the other sign", "train/metagrad.py", "-s*vi for", "s*vi for", [f"{LOOKS}[l2r]"]),
    Mutant("a process's share of the outer gradient is dropped", "train/metagrad.py",
           "= add_up([*grads, loss.detach()])", "= [*grads, loss.detach()]", [f"{ARE_ONE}[l2r]"]),
    Mutant("a process steps along its own gradient", "train/trainer.py",
           "grad.copy_(total)", "pass", [f"{ARE_ONE}[ce]"]),
    Mutant("looking ahead moves the running statistics", "train/metagrad.py",
           "buffer.clone() for place", "buffer for place", [f"{LOOKS}[l2r]"]),
    Mutant("a label is drawn from the neighbour's row", "data/noise.py",
           "np.cumsum(T, 1)[true]", "np.cumsum(T, 1)[(true + 1) % num_classes]",
           [f"{LAWS}::test_the_rate_is_the_one_that_was_asked_for[asymmetric]"]),
    Mutant("a detector's score is turned round", "detection/detectors.py", "run: -_area(run)", "run: _area(run)",
           [f"{DETECTORS}::test_easy_flips_are_found[aum]"]),
    Mutant("CIFAR-100's labels come from the wrong column", "datasets/cifar.py",
           "_joined([train], 'fine_labels')", "_joined([train], 'coarse_labels')",
           [f"{DATASETS}::test_like_pictures_have_like_labels[cifar100]"]),
    Mutant("labels belong to the picture before", "data/source.py",
           "subset(keep), source.labels[keep]", "subset(keep), source.labels[np.roll(keep, 1)]",
           [f"{DATASETS}::test_like_pictures_have_like_labels[cifar10]"]),
]

def copy_of_the_tree(folder):
    "What git would take from the working tree"
    listed = subprocess.run(["git", "ls-files", "-coz", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    for name in filter(None, listed.stdout.split("\0")):
        if not os.path.lexists(ROOT/name): continue
        (folder/name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT/name, folder/name, follow_symlinks=False)

def failures(tree, tests):
    "Names of the tests that fail in `tree`; None: they could not be run"
    env = os.environ | dict(PYTHONPATH=str(tree), OMP_NUM_THREADS="1")
    words = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(words, cwd=tree, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode not in (0, 1):
        print(done.stdout[-3000:], done.stderr[-1000:])
        return None
    return re.findall(r"^(?:FAILED|ERROR) tests/(?:\S*/)?(\S+?\.py::.+?)(?: - |$)", done.stdout, re.M)

def outcome(tree, mutant):
    "How it ended, in words, and whether that is well"
    path = tree/"noisykit"/mutant.module
    source = path.read_text()
    if source.count(mutant.whole) != 1:
        return f"NOT BROKEN: {mutant.module} has {source.count(mutant.whole)} times {mutant.whole!r}", False
    path.write_text(source.replace(mutant.whole, mutant.broken))
    try: failed = failures(tree, mutant.tests)
    finally: path.write_text(source)
    if failed is None: return "the tests could not be run", False
    return (f"caught by {failed[0]}", True) if failed else ("SURVIVED", False)

def main(words):
    chosen = [mutant for mutant in MUTANTS if all(word in mutant.name for word in words)]
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)/"noisykit"
        copy_of_the_tree(tree)
        tests = {test for mutant in chosen for test in mutant.tests}
        failed = failures(tree, sorted(tests))
        print(f"unbroken: {'all pass' if failed == [] else f'FAILS {failed}'}", flush=True)
        good = failed == []
        for mutant in chosen:
            how, well = outcome(tree, mutant)
            print(f"{mutant.name}: {how}", flush=True)
            good = good and well
    return 0 if good else 1

if __name__ == "__main__": sys.exit(main(sys.argv[1:]))
