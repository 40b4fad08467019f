"""What the tests share: real papermill runs of the real notebooks, in processes of their own."""
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import warm
from shared import once

ROOT = Path(__file__).resolve().parents[1]
ENV = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
# of the tests in fuzz/: a profile's examples are the same every time, or others for each --hypothesis-seed
USUAL = dict(deadline=None, suppress_health_check=list(HealthCheck), database=None)
settings.register_profile("ci", derandomize=True, **USUAL)
settings.register_profile("long", print_blob=True, **USUAL)
settings.load_profile("ci")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

def command(notebook, out=None, yaml="", **params):
    "papermill's command line; `yaml` for dictionaries"
    words = [sys.executable, "-m", "papermill", f"nbs/{notebook}.ipynb", *([str(out)] if out else [])]
    words += ["-k", "python3", "--no-progress-bar"]
    for name, value in params.items(): words += ["-p", name, str(value)]
    return words + (["-y", yaml] if yaml else [])

def papermill(notebook, out=None, yaml="", cold=False, **params):
    """Run a notebook to its end: a CompletedProcess with returncode, stdout and stderr. `cold`: by papermill itself and
    a kernel, as a user does it; every notebook once, see runs/test_commands.py. Else in a fraction of the time"""
    words = command(notebook, out, yaml, **params)
    if not cold: return warm.papermill(words, ROOT)
    return subprocess.run(words, cwd=ROOT, env=ENV, stdin=subprocess.DEVNULL, capture_output=True, text=True)

def tree(folder):
    "Path -> hash of everything below a folder"
    files = [p for p in sorted(Path(folder).rglob("*")) if p.is_file()]
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}

SMALL = dict(dataset="digits", noise="symmetric", noise_rate=0.6, probe_size=50, epochs=2, device="cpu")

@pytest.fixture(scope="session")
def l2r_run(tmp_path_factory):
    "One finished papermill run that several tests read and leave as it is: (executed notebook, run folder)"
    def make(folder):
        done = papermill("run_method", folder/"out.ipynb", cold=True, method="l2r", run_dir=folder/"run", **SMALL)
        assert done.returncode == 0, done.stderr[-3000:]
    folder = once(tmp_path_factory, "l2r", make)
    return folder/"out.ipynb", folder/"run"

@pytest.fixture
def copy_of_l2r(l2r_run, tmp_path):
    "The same run in a folder that a test may change"
    return Path(shutil.copytree(l2r_run[1], tmp_path/"copy"))
