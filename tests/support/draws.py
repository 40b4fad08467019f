"""Who draws from a global generator: torch's, numpy's or Python's. Methods draw from streams of their own."""
import random
from contextlib import ExitStack, contextmanager
from functools import wraps
from unittest import mock

import numpy as np
import torch

STATES = {"torch": lambda: torch.get_rng_state().tolist(), "numpy": lambda: np.random.get_state()[1:3],
          "random": random.getstate}
HOOKS = ("__init__", "begin_epoch", "rows", "views_in", "change", "around", "step", "after_step", "end_epoch", "values",
         "metrics", "state_dict", "load_state_dict")

def states(): return {name: repr(state()) for name, state in STATES.items()}

def watched_hook(cls, hook, drew):
    "The hook of a class, which adds (generator, hook) to `drew` where a global generator is another one after it"
    own = getattr(cls, hook)
    @wraps(own)
    def watched(*args, **kwargs):
        before = states()
        found = own(*args, **kwargs)
        drew.update((name, f"{cls.__name__}.{hook}") for name, state in states().items() if state != before[name])
        return found
    return mock.patch.object(cls, hook, watched)

@contextmanager
def global_draws(*classes): # methods and add-ons
    "A set of (generator, hook), filled while the classes are at work"
    drew = set()
    with ExitStack() as patches:
        for cls in classes:
            for hook in HOOKS:
                if hasattr(cls, hook): patches.enter_context(watched_hook(cls, hook, drew))
        yield drew
