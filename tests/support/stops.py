"Runs in this process that are told to stop after a number of steps."
import signal
from contextlib import contextmanager
from unittest import mock

import pytest

from noisykit.processes import Stopped

@contextmanager
def stopped_after(cls, steps):
    "SIGTERM arrives when a run of method `cls` has taken so many steps, and it stops"
    own = cls.step
    def told(self, batch):
        if self.trainer.steps == steps: signal.raise_signal(signal.SIGTERM)
        return own(self, batch)
    with mock.patch.object(cls, "step", told), pytest.raises(Stopped): yield
