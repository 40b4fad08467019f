"""The library as somebody who only wants to use it gets it."""
import subprocess, sys, zipfile

from conftest import ENV, ROOT

def test_the_library_needs_no_nbdev():
    "Every module imports, and a run starts, where nbdev and what it brings are not installed"
    block = "import sys\nfor m in ('nbdev', 'execnb', 'fastcore', 'ghapi', 'fastgit'): sys.modules[m] = None\n"
    use = "import noisykit, noisykit.plots, noisykit.bench\nfrom noisykit.run import resolve\nprint(noisykit.__version__, resolve(method='l2r')[0].model)"
    done = subprocess.run([sys.executable, "-c", block + use], cwd=ROOT, env=ENV, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["0.0.1", "cnn"]

def test_the_wheel_holds_every_module(tmp_path):
    done = subprocess.run([sys.executable, "-m", "pip", "wheel", "-q", "--disable-pip-version-check", "--no-deps", "-w", str(tmp_path), "."], cwd=ROOT, env=ENV, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    names = {n for n in zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist() if n.endswith(".py")}
    assert names == {p.relative_to(ROOT).as_posix() for p in (ROOT/"noisykit").rglob("*.py")}
