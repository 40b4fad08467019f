"A refusal says in one sentence what is wrong."
import re
import traceback
from contextlib import contextmanager
from pathlib import Path

import pytest

import noisykit

PACKAGE = Path(noisykit.__file__).parent

@contextmanager
def refused(
    pattern="", # a regular expression that the sentence matches
    text="", # what stands in it, as it is
    kinds=(ValueError, OSError),
):
    "An exception of `kinds` comes, and its message is one line"
    with pytest.raises(kinds, match=pattern or re.escape(text)) as caught: yield caught
    assert "\n" not in str(caught.value)

def unless_refused(call, *args, **kwargs):
    "What a call returns; None where the kit itself refuses it in one sentence. Any other error is the test's"
    try: return call(*args, **kwargs)
    except (ValueError, OSError) as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        meant = Path(where.filename).is_relative_to(PACKAGE) and "raise " in where.line
        if not meant or len(str(error).splitlines()) != 1: raise
