"""What launched processes run in the tests: they import it, so it is a module."""
from noisykit.processes import joined
from noisykit.run import run_method

def train_all(settings):
    "All the runs, one after the other, in the processes that are there: saves starting them for each"
    with joined():
        for kw in settings: run_method(quiet=True, **kw)
