"""The library as somebody who only wants to use it gets it."""
import ast, subprocess, sys, tarfile, tomllib, zipfile

import pytest
from conftest import ENV, ROOT

def run(*words, cwd, **env): return subprocess.run([sys.executable, *map(str, words)], cwd=cwd, env=ENV | env, capture_output=True, text=True, stdin=subprocess.DEVNULL)

BLOCK = "import sys\nfor m in ('nbdev', 'execnb', 'fastcore', 'ghapi', 'fastgit'): sys.modules[m] = None\n"

def test_the_library_needs_no_nbdev():
    "Every module imports, and a run starts, where nbdev and what it brings are not installed"
    use = ("import pkgutil, importlib, noisykit\n"
           "for m in pkgutil.walk_packages(noisykit.__path__, 'noisykit.'): importlib.import_module(m.name)\n"
           "from noisykit.resolve import resolve\nprint(noisykit.__version__, resolve(method='l2r')[0].model)")
    done = run("-c", BLOCK + use, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["0.0.1", "cnn"]

@pytest.fixture(scope="module")
def built(tmp_path_factory):
    "The archive of sources, the wheel that is built from it, and the folder into which that is installed"
    out, site = tmp_path_factory.mktemp("dist"), tmp_path_factory.mktemp("site")
    done = run("-m", "build", "--outdir", out, cwd=ROOT)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (sdist,), (wheel,) = out.glob("*.tar.gz"), out.glob("*.whl")
    done = run("-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps", "--target", site, wheel, cwd=out)
    assert done.returncode == 0, done.stderr
    return sdist, wheel, site

def test_the_wheel_holds_every_module(built):
    "And what they read: the trained detector and where it comes from; no notebook, no test"
    want = {p.relative_to(ROOT).as_posix() for p in (ROOT/"noisykit").rglob("*") if p.is_file() and "__pycache__" not in p.parts}
    names = {n for n in zipfile.ZipFile(built[1]).namelist() if ".dist-info/" not in n}
    assert names == want and "noisykit/py.typed" in names
    with tarfile.open(built[0]) as t: assert want <= {n.partition("/")[2] for n in t.getnames()}

def test_the_wheel_alone_runs(built, tmp_path):
    "In an empty folder, with the dependencies, none of the extras and nothing of the repository: every module, a run, a detector, an explorer"
    (tmp_path/"settings.yaml").write_text("{method: l2r, dataset: digits, noise: symmetric, noise_rate: 0.4, probe_size: 20, epochs: 1, device: cpu, run_dir: out}")
    done = run("-m", "noisykit", "settings.yaml", cwd=tmp_path, PYTHONPATH=str(built[2]))
    assert done.returncode == 0, done.stderr[-2000:]
    use = f"""
import pkgutil, importlib, noisykit
assert noisykit.__file__.startswith({str(built[2])!r}), noisykit.__file__
for m in pkgutil.walk_packages(noisykit.__path__, 'noisykit.'): importlib.import_module(m.name)
from noisykit.detection.detectors import detect
from noisykit.explore.widgets import explorer
from noisykit.plots.draw import canvas
from noisykit.record import Run
print(len(detect(Run('out'), 'aum')) + len(detect(Run('out'), 'lstm')))
def draw(width:int=2): fig = canvas(width, 2); fig.subplots(); return fig
print(len(explorer(draw, width=(1, 3)).picture.png) > 100)
"""
    done = run("-c", BLOCK + "for m in ('ray', 'transformers', 'cleanlab', 'aum', 'torchopt'): sys.modules[m] = None\n" + use, cwd=tmp_path, PYTHONPATH=str(built[2]))
    assert done.returncode == 0, done.stderr[-2000:]
    rows, drawn = done.stdout.split()
    assert int(rows) > 2000 and drawn == "True"
    assert {p.name for p in tmp_path.iterdir()} == {"settings.yaml", "out"}

def modules(): return {p: ast.parse(p.read_text()) for p in sorted((ROOT/"noisykit").rglob("*.py"))}

def test_every_import_is_declared():
    "Of another package's module the project asks for that package itself, it does not hope for somebody else's dependency"
    project = tomllib.loads((ROOT/"pyproject.toml").read_text())["project"]
    asked = {"".join(c for c in w.split("[")[0].split(">")[0].split("=")[0]).strip().replace("-", "_").lower() for w in [*project["dependencies"], *sum(project["optional-dependencies"].values(), [])]}
    names = {"sklearn": "scikit_learn", "PIL": "pillow", "yaml": "pyyaml"}
    for path, tree in modules().items():
        for n in ast.walk(tree):
            of = [a.name for a in n.names] if isinstance(n, ast.Import) else [n.module] if isinstance(n, ast.ImportFrom) and not n.level else []
            for top in {m.split(".")[0] for m in of} - set(sys.stdlib_module_names) - {"noisykit"}: assert names.get(top, top) in asked, f"{path.name} imports {top}"

def undescribed(trees):
    "Arguments of public functions and methods with neither default nor annotation nor comment; what a base class or a registering decorator of the kit says is not said again"
    classes = {c.name: c for t in trees.values() for c in t.body if isinstance(c, ast.ClassDef)}
    own = {f.name for t in trees.values() for f in t.body if isinstance(f, ast.FunctionDef)}
    def bases(c): return [classes[b.id] for b in c.bases if isinstance(b, ast.Name) and b.id in classes]
    def inherited(c): return {m.name for b in bases(c) for m in b.body if isinstance(m, ast.FunctionDef)}.union(*map(inherited, bases(c)))
    def registered(f): return any(isinstance(n := d.func if isinstance(d, ast.Call) else d, ast.Name) and n.id in own for d in f.decorator_list)
    for path, tree in trees.items():
        lines = path.read_text().split("\n")
        methods = [(c.name, m) for c in tree.body if isinstance(c, ast.ClassDef) and c.name[0] != "_" for m in c.body if getattr(m, "name", "") not in inherited(c)]
        for where, f in [(path.stem, f) for f in tree.body] + methods:
            if not isinstance(f, ast.FunctionDef) or f.name[0] == "_" and f.name != "__init__" or registered(f): continue
            first, named = f.args.posonlyargs + f.args.args, zip(f.args.kwonlyargs, f.args.kw_defaults)
            for a in [*first[:len(first) - len(f.args.defaults)], *(a for a, default in named if default is None)]:
                if a.arg not in ("self", "cls") and not a.annotation and "#" not in lines[a.lineno - 1][a.col_offset:]: yield f"{where}.{f.name}({a.arg})"

def test_every_argument_is_described(tmp_path):
    assert list(undescribed(modules())) == []
    (odd := tmp_path/"odd.py").write_text("def f(a, b:int, c=1, *,\n      d, # [N]\n      e): pass\nclass A:\n    def g(self, x): pass\nclass B(A):\n    def g(self, x): pass\n@f\ndef h(y): pass\ndef _i(z): pass\n")
    assert list(undescribed({odd: ast.parse(odd.read_text())})) == ["odd.f(a)", "odd.f(e)", "A.g(x)"]
