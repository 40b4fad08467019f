"""The library as somebody who only wants to use it gets it."""
import ast
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile

import pytest

from conftest import ENV, ROOT

def run(*words, cwd, **env):
    return subprocess.run([sys.executable, *map(str, words)], cwd=cwd, env=ENV | env, capture_output=True, text=True,
                          stdin=subprocess.DEVNULL)

def without(*packages): return f"import sys\nfor name in {packages}: sys.modules[name] = None\n"

NBDEV = "nbdev", "execnb", "fastcore", "ghapi", "fastgit"
EXTRAS = "ray", "transformers", "cleanlab", "aum", "torchopt"
EVERY_MODULE = """
import pkgutil, importlib, noisykit
for module in pkgutil.walk_packages(noisykit.__path__, 'noisykit.'): importlib.import_module(module.name)
"""

def test_the_library_needs_no_nbdev():
    "Every module imports, and a run starts, where nbdev and what it brings are not installed"
    use = "from noisykit.resolve import resolve\nprint(noisykit.__version__, resolve(method='l2r')[0].model)"
    done = run("-c", without(*NBDEV) + EVERY_MODULE + use, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["0.0.1", "cnn"]

# ---- what is built

@pytest.fixture(scope="module")
def built(tmp_path_factory):
    "The archive of sources, the wheel that is built from it, and the folder into which that is installed"
    out, site = tmp_path_factory.mktemp("dist"), tmp_path_factory.mktemp("site")
    done = run("-m", "build", "--outdir", out, cwd=ROOT)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (sdist,), (wheel,) = out.glob("*.tar.gz"), out.glob("*.whl")
    how = ["-q", "--disable-pip-version-check", "--no-deps", "--target", site]
    done = run("-m", "pip", "install", *how, wheel, cwd=out)
    assert done.returncode == 0, done.stderr
    return sdist, wheel, site

def test_the_wheel_holds_every_module(built):
    "And what they read: the trained detector and where it comes from, the notebooks that one runs; no test"
    files = [p for p in (ROOT/"noisykit").rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    files += (ROOT/"noisykit/notebooks").glob("*.ipynb")   # a link, which rglob does not follow
    want = {p.relative_to(ROOT).as_posix() for p in files}
    names = {name for name in zipfile.ZipFile(built[1]).namelist() if ".dist-info/" not in name}
    assert names == want and "noisykit/py.typed" in names
    with tarfile.open(built[0]) as archive: assert want <= {name.partition("/")[2] for name in archive.getnames()}

SETTINGS = """{method: l2r, dataset: digits, noise: symmetric, noise_rate: 0.4, probe_size: 20, epochs: 1, device: cpu,
run_dir: out}"""
USE = """
from noisykit.detection.detectors import detect
from noisykit.explore.widgets import explorer
from noisykit.plots.draw import canvas
from noisykit.record import Run
print(len(detect(Run('out'), 'aum')) + len(detect(Run('out'), 'lstm')))
def draw(width:int=2):
    fig = canvas(width, 2)
    fig.subplots()
    return fig
print(len(explorer(draw, width=(1, 3)).picture.png) > 100)
"""

def test_the_wheel_alone_runs(built, tmp_path):
    """In an empty folder, with the dependencies, none of the extras and nothing of the repository: every module, a run,
    a detector, an explorer"""
    (tmp_path/"settings.yaml").write_text(SETTINGS)
    site = str(built[2])
    done = run("-m", "noisykit", "settings.yaml", cwd=tmp_path, PYTHONPATH=site)
    assert done.returncode == 0, done.stderr[-2000:]
    there = f"assert noisykit.__file__.startswith({site!r}), noisykit.__file__\n"
    done = run("-c", without(*NBDEV, *EXTRAS) + EVERY_MODULE + there + USE, cwd=tmp_path, PYTHONPATH=site)
    assert done.returncode == 0, done.stderr[-2000:]
    rows, drawn = done.stdout.split()
    assert int(rows) > 2000 and drawn == "True"
    assert {p.name for p in tmp_path.iterdir()} == {"settings.yaml", "out"}

def test_the_command_of_the_wheel(built, tmp_path):
    "It lists and explains without nbdev, and with none of the repository"
    (entry,) = (built[2]/"bin").glob("noisykit*")
    assert "noisykit.command" in entry.read_text()
    for words, said in (["list", "methods"], "l2r "), (["run", "-p", "method", "l2r", "--help"], "learning rate"):
        use = f"import sys\nsys.argv[1:] = {words}\nfrom noisykit.command import main\nmain()"
        done = run("-c", without(*NBDEV, *EXTRAS) + use, cwd=tmp_path, PYTHONPATH=str(built[2]))
        assert done.returncode == 0 and said in done.stdout, done.stderr[-2000:]

# ---- what the sources say

def modules(): return {p: ast.parse(p.read_text()) for p in sorted((ROOT/"noisykit").rglob("*.py"))}

def packages(tree):
    "Names of what a module imports from elsewhere"
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import): names += [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom) and not node.level: names.append(node.module)
    return {name.split(".")[0] for name in names} - set(sys.stdlib_module_names) - {"noisykit"}

def test_every_import_is_declared():
    """Of another package's module the project asks for that package itself, it does not hope for somebody else's
    dependency"""
    project = tomllib.loads((ROOT/"pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + sum(project["optional-dependencies"].values(), [])
    asked = {re.match(r"[\w.-]+", line)[0].replace("-", "_").lower() for line in wanted}
    names = {"sklearn": "scikit_learn", "PIL": "pillow", "yaml": "pyyaml", "IPython": "ipython"}
    for path, tree in modules().items():
        missing = {name for name in packages(tree) if names.get(name, name) not in asked}
        assert not missing, f"{path.name} imports {missing}"

class Described:
    "Which arguments are said to be what; base classes and registering decorators of the kit say it for others"
    def __init__(self, trees):
        self.trees, self.classes, self.functions = trees, {}, set()
        for tree in trees.values():
            self.classes |= {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
            self.functions |= {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}

    def inherited(self, cls):
        "Names of methods that a base class has"
        bases = [self.classes[b.id] for b in cls.bases if isinstance(b, ast.Name) and b.id in self.classes]
        names = set()
        for base in bases: names |= self.inherited(base) | {getattr(node, "name", "") for node in base.body}
        return names

    def registered(self, f):
        "Whether a decorator is a function of the kit"
        decorators = [d.func if isinstance(d, ast.Call) else d for d in f.decorator_list]
        return any(isinstance(d, ast.Name) and d.id in self.functions for d in decorators)

    def definitions(self, path, tree):
        "(where, function) of what is public and says for itself what it takes"
        found = [(path.stem, node) for node in tree.body]
        for cls in tree.body:
            if not isinstance(cls, ast.ClassDef) or cls.name.startswith("_"): continue
            inherited = self.inherited(cls)
            found += [(cls.name, node) for node in cls.body if getattr(node, "name", "") not in inherited]
        for where, node in found:
            if not isinstance(node, ast.FunctionDef) or self.registered(node): continue
            if node.name == "__init__" or not node.name.startswith("_"): yield where, node

    def missing(self):
        "Arguments with neither default nor annotation nor comment"
        for path, tree in self.trees.items():
            lines = path.read_text().split("\n")
            def bare(a): return not a.annotation and "#" not in lines[a.lineno - 1][a.col_offset:]
            for where, f in self.definitions(path, tree):
                for a in required(f):
                    if a.arg not in ("self", "cls") and bare(a): yield f"{where}.{f.name}({a.arg})"

def required(f):
    "Arguments without a default"
    first = f.args.posonlyargs + f.args.args
    named = [a for a, default in zip(f.args.kwonlyargs, f.args.kw_defaults) if default is None]
    return first[:len(first) - len(f.args.defaults)] + named

ODD = """def f(a, b:int, c=1, *,
      d, # [N]
      e): pass
class A:
    def g(self, x): pass
class B(A):
    def g(self, x): pass
@f
def h(y): pass
def _i(z): pass
"""

def test_every_argument_is_described(tmp_path):
    assert list(Described(modules()).missing()) == []
    odd = tmp_path/"odd.py"
    odd.write_text(ODD)
    assert list(Described({odd: ast.parse(ODD)}).missing()) == ["odd.f(a)", "odd.f(e)", "A.g(x)"]
