"""Is the tree in the state in which it may be committed? Torch is not imported, nothing is written here.

    python tests/check_tree.py                 every check
    python tests/check_tree.py export paths    these only
"""
import ast, configparser, json, os, re, shutil, subprocess, sys, tempfile
from pathlib import Path

from stills import views

ROOT = Path(__file__).resolve().parents[1]
RUN_NBS = "run_method", "run_detector", "run_sweep", "view_noise", "plot_run", "evaluate_run", "bench_metastep", "bench_methods", "bench_scaling", "bench_loader", "table_l2r", "table_sln", "table_isic", "table_methods", "table_detectors", "table_audit", "train_detector", "exchange_dynamics", "bench_dynamics", "audit", "debug_labels", "explore"     # must have papermill's parameters cell
PARAMS = {"run_method": {"method", "run_dir"}}            # what the Makefile passes with -p
KB, INDEX_KB = 200, 300
# traces of somebody's machine: home and work folders, the packages of a virtual environment, a package index
TRACES = re.compile(r"(?<![\w.:/~-])/(?:home|Users|root|work)/[.\w-]{2}|/tmp/w\b|\w/site-packages/|pypi\.org|files\.pythonhosted|download\.pytorch")
SELF = "tests/check_tree.py"

ini = configparser.ConfigParser(interpolation=None)
ini.read(ROOT / "settings.ini", encoding="utf-8")
CFG = ini["DEFAULT"]
NBS, LIB = CFG["nbs_path"], CFG["lib_path"]

def git_files():
    "Tracked files and new ones that git does not ignore, as they are in the working tree"
    out = subprocess.run(["git", "ls-files", "-coz", "--exclude-standard"], cwd=ROOT, capture_output=True)
    if out.returncode: sys.exit("check_tree needs a git checkout: " + out.stderr.decode().strip())
    return sorted({f for f in out.stdout.decode().split("\0") if f and os.path.lexists(ROOT / f)})

FILES = git_files()
NOTEBOOKS = [f for f in FILES if f.startswith(NBS + "/") and f.endswith(".ipynb")]

def shown(f):
    "nbdev and Quarto leave out names that start with _ or ."
    return not any(p[0] in "_." for p in Path(f).parts)

def load(f):
    try: return json.loads((ROOT / f).read_text(encoding="utf-8"))
    except ValueError as e: return str(e)

def text(cell): return "".join(cell.get("source", []))

def check_export():
    "notebooks are clean, modules are what they export"
    broken = [f"{f} is not valid JSON: {e}" for f in NOTEBOOKS if isinstance(e := load(f), str)]
    if broken: return broken
    # work on a copy: whoever has half-finished work here keeps it
    with tempfile.TemporaryDirectory() as d:
        for f in FILES:
            if f.startswith((NBS + "/", LIB + "/")) or f == "settings.ini":
                (dst := Path(d, f)).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / f, dst, follow_symlinks=False)
        old = {f for f in FILES if f.startswith(LIB + "/") and f.endswith(".py")}
        for f in old:  # what does not come back has no notebook
            if not (f.endswith("/__init__.py") and Path(d, f).stat().st_size): Path(d, f).unlink()
        run = subprocess.run([sys.executable, "-c", "from nbdev.doclinks import nbdev_export\nfrom nbdev.clean import nbdev_clean\nnbdev_export(); nbdev_clean()"],
                             cwd=d, capture_output=True, text=True, env={k: v for k, v in os.environ.items() if k != "IN_TEST"})
        if run.returncode: return [f"nbdev_export/nbdev_clean failed: {(run.stderr.strip() or 'no message').splitlines()[-1]}"]
        new = {p.relative_to(d).as_posix() for p in Path(d, LIB).rglob("*.py")}
        errs = [f"{f} has no notebook that exports it: delete it, or write it in a notebook" for f in sorted(old - new)]
        errs += [f"{f} is missing: run `nbdev_export` (make prepare)" for f in sorted(new - old)]
        same = lambda f: Path(d, f).read_bytes() == (ROOT / f).read_bytes()
        errs += [f"{f} is not what its notebook exports: run `nbdev_export` (make prepare); changes go into the notebook" for f in sorted(old & new) if not same(f)]
        errs += [f"{f} is not clean: run `nbdev_clean` (make prepare)" for f in NOTEBOOKS if not same(f)]
    return errs

def front_matter(cells, key):
    "The value of `key` in a raw `---` cell, or in the list under the title"
    for c in cells:
        if c["cell_type"] == "raw" and (m := re.search(rf"^{key}:\s*(\S+)", text(c), re.M)): return m[1].lower()
        if c["cell_type"] == "markdown" and text(c).startswith("# ") and (m := re.search(rf"^- {key}:\s*(\S+)", text(c), re.M)): return m[1].lower()

def check_notebooks():
    "kernel, cell ids, size, no error outputs, parameters cells"
    errs = []
    for f in NOTEBOOKS:
        nb, stem = load(f), Path(f).stem
        if isinstance(nb, str): errs.append(f"{f} is not valid JSON: {nb}"); continue
        cells, say = nb["cells"], lambda s: errs.append(f"{f}: {s}")
        kernel = nb["metadata"].get("kernelspec", {}).get("name")
        if kernel != "python3": say(f"the kernel is {kernel!r}; every notebook says 'python3'")
        if (nb.get("nbformat"), nb.get("nbformat_minor")) != (4, 5): say(f"nbformat {nb.get('nbformat')}.{nb.get('nbformat_minor')}, wanted 4.5: save it in JupyterLab 4")
        ids = [c.get("id") for c in cells]
        if not all(ids) or len(set(ids)) < len(ids): say("a cell has no id, or two have the same: save it in JupyterLab 4")
        kb, most = (ROOT / f).stat().st_size / 1000, INDEX_KB if stem == "index" else KB
        if kb > most: say(f"{kb:.0f} kB, more than {most}: smaller figures, shorter outputs")
        for c in cells:
            if any(o["output_type"] == "error" for o in c.get("outputs", [])): say(f"cell {c.get('id')} has an error output: repair and run it again")
        if views(nb) or nb["metadata"].get("widgets"): say("it stores widgets, which are nothing without their kernel: run `make prepare`, which leaves their pictures")
        code = [c for c in cells if c["cell_type"] == "code"]
        tagged = [c for c in cells if "parameters" in c["metadata"].get("tags", [])]
        if stem in RUN_NBS and not tagged: say("no cell is tagged `parameters`: papermill -p would change nothing")
        if not tagged: continue
        if len(tagged) > 1: say(f"{len(tagged)} cells are tagged `parameters`, one must be")
        if tagged[0] is not code[0]: say("the cell tagged `parameters` must be the first code cell")
        if front_matter(cells, "skip_exec") != "true": say("a run notebook needs `skip_exec: true` in a raw cell of front matter, or nbdev_test would do the whole run")
        try: names = {n.id for n in ast.walk(ast.parse(text(tagged[0]))) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        except SyntaxError: say("the parameters cell is not plain Python"); continue
        if lacks := PARAMS.get(stem, set()) - names: say(f"the parameters cell does not set {', '.join(sorted(lacks))}, which `make run` passes")
    return errs

def lines_of(f):
    "(where, line) of a text file; of a notebook its sources and text outputs, without the pictures"
    if not f.endswith(".ipynb") or isinstance(nb := load(f), str):
        try: return [(str(i), l) for i, l in enumerate((ROOT / f).read_text(encoding="utf-8").splitlines(), 1)]
        except ValueError: return []  # not text
    flat = lambda x: x if isinstance(x, str) else "".join(map(str, x)) if isinstance(x, list) else json.dumps(x)
    parts = [("metadata", json.dumps(nb["metadata"]))]
    for c in nb["cells"]:
        outs = [flat(v) for o in c.get("outputs", []) for k, v in [*o.items(), *o.get("data", {}).items()] if k in ("text", "traceback") or k.startswith(("text/", "application/"))]
        parts += [(f"cell {c.get('id')}", t) for t in [text(c), *outs]]
    return [(w, l) for w, t in parts for l in t.splitlines()]

def check_paths():
    "no file names a path of somebody's machine or a package index"
    errs = []
    for f in FILES:
        if f == SELF or (ROOT / f).is_symlink(): continue
        if hit := next(((w, m[0]) for w, l in lines_of(f) if (m := TRACES.search(l))), None):
            errs.append(f"{f}:{hit[0]} has {hit[1]!r}, a trace of a machine or a package index")
    return errs

def check_readme():
    "README.md is what index.ipynb yields"
    if f"{NBS}/index.ipynb" not in FILES: return [f"{NBS}/index.ipynb is missing"]
    from readme import readme
    try: want = readme(ROOT)
    except Exception as e: return [f"README.md cannot be made from {NBS}/index.ipynb: {e}"]
    if "README.md" not in FILES or (ROOT / "README.md").read_text(encoding="utf-8") != want: return [f"README.md is not what {NBS}/index.ipynb yields: run `make readme`"]
    return []

CHECKS = {"export": check_export, "notebooks": check_notebooks, "paths": check_paths, "readme": check_readme}

def main(names, checks=CHECKS):
    if unknown := set(names) - set(checks): sys.exit(f"no check called {', '.join(sorted(unknown))}; there are {', '.join(checks)}")
    bad = 0
    for name in names or checks:
        errs = checks[name]()
        for e in errs: print(f"FAIL {name}: {e}")
        if not errs: print(f"ok   {name}: {' '.join((checks[name].__doc__ or '').split())}")
        bad += len(errs)
    return 1 if bad else 0

if __name__ == "__main__": sys.exit(main(sys.argv[1:]))
