"""A notebook that is run in the warm process, and what its cells put out.

One test of each notebook takes `conftest.papermill` instead, which starts a kernel as a user's command does.
"""
import json

import warm
from conftest import ROOT, command

def warm_run(notebook, out=None, yaml="", **params):
    "As `conftest.papermill`, which starts a kernel: a CompletedProcess with returncode, stdout and stderr"
    return warm.papermill(command(notebook, out, yaml, **params), ROOT)

def outputs(path):
    "The outputs of all cells of an executed notebook, one after the other"
    cells = json.loads(path.read_text())["cells"]
    return [output for cell in cells for output in cell.get("outputs", [])]

def last_line(done):
    "What a command said last on stderr"
    return done.stderr.strip().splitlines()[-1]
