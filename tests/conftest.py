"""What the tests share: real papermill runs of the real notebooks, in processes of their own."""
import hashlib, os, shutil, subprocess, sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ENV = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

def command(notebook, out=None, yaml="", **params):
    "papermill's command line; `yaml` for dictionaries"
    words = [sys.executable, "-m", "papermill", f"nbs/{notebook}.ipynb", *([str(out)] if out else []), "-k", "python3", "--no-progress-bar"]
    for k, v in params.items(): words += ["-p", k, str(v)]
    return words + (["-y", yaml] if yaml else [])

def papermill(notebook, out=None, yaml="", **params):
    "Run a notebook to its end: a CompletedProcess with rc, stdout and stderr"
    return subprocess.run(command(notebook, out, yaml, **params), cwd=ROOT, env=ENV, stdin=subprocess.DEVNULL, capture_output=True, text=True)

def tree(folder):
    "Path -> hash of everything below a folder"
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(Path(folder).rglob("*")) if p.is_file()}

SMALL = dict(dataset="digits", noise="symmetric", noise_rate=0.6, probe_size=50, epochs=2, device="cpu")

@pytest.fixture(scope="session")
def l2r_run(tmp_path_factory):
    "One finished papermill run that several tests read: (process, run folder, executed notebook)"
    d = tmp_path_factory.mktemp("l2r")
    return papermill("run_method", d/"out.ipynb", method="l2r", run_dir=d/"run", **SMALL), d/"run", d/"out.ipynb"
