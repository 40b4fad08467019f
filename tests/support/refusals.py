"A refusal says in one sentence what is wrong."
import re
from contextlib import contextmanager

import pytest

@contextmanager
def refused(
    pattern="", # a regular expression that the sentence matches
    text="", # what stands in it, as it is
    kinds=(ValueError, OSError),
):
    "An exception of `kinds` comes, and its message is one line"
    with pytest.raises(kinds, match=pattern or re.escape(text)) as caught: yield caught
    assert "\n" not in str(caught.value)
