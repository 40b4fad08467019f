"The number of examples."
import importlib
from pathlib import Path

from strategies import PROMISED

def test_two_thousand_examples():
    "Each property fails where it was given fewer than it promises"
    for path in Path(__file__).parent.glob("test_any_*.py"): importlib.import_module(path.stem)
    assert sum(PROMISED.values()) >= 2000
