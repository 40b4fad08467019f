"""Is the tree in the state in which it may be committed? Torch is not imported, nothing is written here.

    python tests/tools/check_tree.py                 every check
    python tests/tools/check_tree.py export paths    these only
"""
import ast, configparser, json, os, re, shutil, subprocess, sys, tempfile
from pathlib import Path, PurePosixPath

from stills import views

ROOT = Path(__file__).resolve().parents[2]
PARAMS = {"nbs/run_method.ipynb": {"method"}} # what the Makefile passes with -p
KB, INDEX_KB = 200, 300
# The floors of the house, the lowest first: a folder of nbs/, or one notebook of it that stands on another floor than
# its folder. An import points to a lower floor or stays in its folder; folders of one floor do not know each other.
FLOORS = [["ground"],
          ["data"],
          ["train", "datasets"],
          ["detection"],
          ["methods", "run/study", "run/resolve"],
          ["run/assemble"],
          ["run"],
          ["plots"],
          ["audit"],
          ["explore", "bench"],
          ["run/command"]]
# traces of somebody's machine: home and work folders, the packages of a virtual environment, a package index
TRACES = re.compile(r"(?<![\w.:/~-])/(?:home|Users|root|work)/[.\w-]{2}|/tmp/w\b|\w/site-packages/"
                    r"|pypi\.org|files\.pythonhosted|download\.pytorch")
SELF = "tests/tools/check_tree.py"

ini = configparser.ConfigParser(interpolation=None)
ini.read(ROOT / "settings.ini", encoding="utf-8")
CFG = ini["DEFAULT"]
NBS, LIB = CFG["nbs_path"], CFG["lib_path"]

def git_files():
    "Tracked files and new ones that git does not ignore, as they are in the working tree"
    out = subprocess.run(["git", "ls-files", "-coz", "--exclude-standard"], cwd=ROOT, capture_output=True)
    if out.returncode: sys.exit("check_tree needs a git checkout: " + out.stderr.decode().strip())
    return sorted({file for file in out.stdout.decode().split("\0") if file and os.path.lexists(ROOT / file)})

FILES = git_files()
NOTEBOOKS = [file for file in FILES if file.startswith(NBS + "/") and file.endswith(".ipynb")]

def shown(file):
    "nbdev and Quarto leave out names that start with _ or ."
    return not any(p[0] in "_." for p in Path(file).parts)

def load(file):
    try: return json.loads((ROOT / file).read_text(encoding="utf-8"))
    except ValueError as error: return str(error)

def text(cell): return "".join(cell.get("source", []))

def check_export():
    "notebooks are clean, modules are what they export"
    broken = [f"{file} is not valid JSON: {error}" for file in NOTEBOOKS if isinstance(error := load(file), str)]
    if broken: return broken
    # work on a copy: whoever has half-finished work here keeps it
    with tempfile.TemporaryDirectory() as folder:
        for file in FILES:
            if file.startswith((NBS + "/", LIB + "/")) or file == "settings.ini":
                (dst := Path(folder, file)).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / file, dst, follow_symlinks=False)
        old = {file for file in FILES if file.startswith(LIB + "/") and file.endswith(".py")}
        for file in old: # what does not come back has no notebook
            if not (file.endswith("/__init__.py") and Path(folder, file).stat().st_size): Path(folder, file).unlink()
        code = ("from nbdev.doclinks import nbdev_export\nfrom nbdev.clean import nbdev_clean\n"
                "nbdev_export(); nbdev_clean()")
        env = {k: v for k, v in os.environ.items() if k != "IN_TEST"}
        run = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, env=env)
        if run.returncode:
            return [f"nbdev_export/nbdev_clean failed: {(run.stderr.strip() or 'no message').splitlines()[-1]}"]
        new = {p.relative_to(folder).as_posix() for p in Path(folder, LIB).rglob("*.py")}
        def same(file): return Path(folder, file).read_bytes() == (ROOT / file).read_bytes()
        errs = [f"{file} has no notebook that exports it: delete it, or write it in a notebook"
                for file in sorted(old - new)]
        errs += [f"{file} is missing: run `nbdev_export` (make prepare)" for file in sorted(new - old)]
        errs += [f"{file} is not what its notebook exports: run `nbdev_export` (make prepare), and edit the notebook "
                 "only" for file in sorted(old & new) if not same(file)]
        errs += [f"{file} is not clean: run `nbdev_clean` (make prepare)" for file in NOTEBOOKS if not same(file)]
    return errs

def front_matter(cells, key):
    "The value of `key` in a raw `---` cell, or in the list under the title"
    for cell in cells:
        under_title = cell["cell_type"] == "markdown" and text(cell).startswith("# ")
        pattern = rf"^{key}:\s*(\S+)" if cell["cell_type"] == "raw" else rf"^- {key}:\s*(\S+)" if under_title else None
        if pattern and (m := re.search(pattern, text(cell), re.M)): return m[1].lower()

def tagged(cells):
    "The cells that papermill's parameters go behind: a notebook with one is run, not tested"
    return [cell for cell in cells if "parameters" in cell["metadata"].get("tags", [])]

def wrong_state(file, nb):
    "What is wrong with a notebook as it is stored"
    cells, kernel = nb["cells"], nb["metadata"].get("kernelspec", {}).get("name")
    if kernel != "python3": yield f"the kernel is {kernel!r}; every notebook says 'python3'"
    version = nb.get("nbformat"), nb.get("nbformat_minor")
    if version != (4, 5): yield f"nbformat {version[0]}.{version[1]}, wanted 4.5: save it in JupyterLab 4"
    ids = [cell.get("id") for cell in cells]
    if not all(ids) or len(set(ids)) < len(ids):
        yield "a cell has no id, or two have the same: save it in JupyterLab 4"
    kb, most = (ROOT / file).stat().st_size / 1000, INDEX_KB if file == f"{NBS}/index.ipynb" else KB
    if kb > most: yield f"{kb:.0f} kB, more than {most}: smaller figures, shorter outputs"
    for cell in cells:
        if any(o["output_type"] == "error" for o in cell.get("outputs", [])):
            yield f"cell {cell.get('id')} has an error output: repair and run it again"
        if isinstance(cell["source"], str) and "\n" in cell["source"]:
            yield f"cell {cell.get('id')} is one long string, in which no change can be read: save it in Jupyter"
        if re.search(r"\bTODO\b", text(cell)): yield f"cell {cell.get('id')} says TODO: do it, or file an issue"
    dtypes = re.findall(r"^torch\.set_default_dtype\((\S+)\)", "\n".join(map(text, cells)), re.M)
    if dtypes and dtypes[-1] != "torch.float32":
        yield f"it leaves {dtypes[-1]} as torch's type of numbers to the notebook that is tested next in its process"
    if views(nb) or nb["metadata"].get("widgets"):
        yield "it stores widgets, which need their kernel: run `make prepare`, which leaves their pictures"

def wrong_parameters(file, cells):
    "What is wrong with the parameters of a notebook that is run"
    skipped, found = front_matter(cells, "skip_exec") == "true", tagged(cells)
    if not found:
        if skipped: yield "no cell is tagged `parameters`: papermill -p would change nothing"
        return
    if len(found) > 1: yield f"{len(found)} cells are tagged `parameters`, one must be"
    if found[0] is not next(cell for cell in cells if cell["cell_type"] == "code"):
        yield "the cell tagged `parameters` must be the first code cell"
    if not skipped:
        yield "a run notebook needs `skip_exec: true` in its front matter, or nbdev_test would do the whole run"
    if any(re.search(r"(?<!<!--\n)^- skip_exec", text(cell), re.M) for cell in cells):
        yield "`- skip_exec: true` stands in a comment, or whoever runs the notebook reads it"
    try: nodes = list(ast.walk(ast.parse(text(found[0]))))
    except SyntaxError:
        yield "the parameters cell is not plain Python"
        return
    rows = text(found[0]).split("\n")
    for node in ast.parse(text(found[0])).body:
        if "#" not in rows[node.lineno - 1] + rows[node.end_lineno - 1]:
            yield f"the parameter in {rows[node.lineno - 1][:40]!r} has no comment that says what it means"
    names = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    if lacks := PARAMS.get(file, set()) - names:
        yield f"the parameters cell does not set {', '.join(sorted(lacks))}, which `make run` passes"

def check_notebooks():
    "kernel, cell ids, size, no error outputs, nothing left to do, parameters cells"
    errs = [f"{file} is missing, which `make run` runs" for file in PARAMS if file not in NOTEBOOKS]
    for file in NOTEBOOKS:
        nb = load(file)
        if isinstance(nb, str): errs.append(f"{file} is not valid JSON: {nb}")
        else: errs += [f"{file}: {error}" for error in [*wrong_state(file, nb), *wrong_parameters(file, nb["cells"])]]
    return errs

def modules():
    "name -> (syntax tree, notebook under nbs/ without .ipynb) of what notebooks export"
    found = {}
    for file in FILES:
        if not file.startswith(LIB + "/") or not file.endswith(".py"): continue
        source = (ROOT / file).read_text(encoding="utf-8")
        m = re.search(r"^# AUTOGENERATED.*File to edit: (\S+)\.ipynb", source, re.M)
        if not m: continue
        try: tree = ast.parse(source)
        except SyntaxError: continue # check_export says it
        notebook = os.path.relpath(os.path.normpath(PurePosixPath(file).parent / m[1]), NBS)
        found[file[:-3].replace("/", ".")] = tree, notebook
    return found

def imports(
    name, # of a module
    tree, # its syntax tree
    names, # of all modules
):
    "Pairs (module of the kit, name that is taken from it or None), those inside of functions too"
    for n in ast.walk(tree):
        if isinstance(n, ast.Import): yield from ((a.name, None) for a in n.names if a.name in names)
        if not isinstance(n, ast.ImportFrom): continue
        start = name.split(".")[:-n.level] if n.level else []
        module = ".".join(start + (n.module or "").split(".")).strip(".")
        for a in n.names:
            whole = f"{module}.{a.name}"
            if whole in names: yield whole, None
            elif module in names: yield module, a.name

def floor(notebook):
    "The number of its floor and its folder"
    folder = str(PurePosixPath(notebook).parent)
    number = {room: i for i, rooms in enumerate(FLOORS) for room in rooms}
    return number.get(notebook, number.get(folder)), folder

def circles(
    arrows, # module -> modules that it imports
):
    "Circles of imports, each as a list of modules that starts and ends with the same"
    found, done = [], set()
    def walk(module, path):
        if module in path: found.append(path[path.index(module):] + [module])
        if module in path or module in done: return
        for other in sorted(arrows[module]): walk(other, path + [module])
        done.add(module)
    for module in sorted(arrows): walk(module, [])
    return found

def strings(tree):
    "The texts in a module's code, without descriptions"
    parts = [n for n in ast.walk(tree) if isinstance(n, (ast.Module, ast.ClassDef, ast.FunctionDef))]
    described = {id(n.body[0].value) for n in parts if n.body and isinstance(n.body[0], ast.Expr)}
    texts = [n for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    return [n.value for n in texts if id(n) not in described]

def wrong_drawing():
    "What CONTRIBUTING.md says of the house and is not so: a folder's notebooks, the floors"
    said = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8") if "CONTRIBUTING.md" in FILES else ""
    drawn = dict(re.findall(r"^  (\w+)/ +(.+)$", said, re.M))
    folders = {}
    for path in map(PurePosixPath, NOTEBOOKS):
        folders.setdefault(str(path.parent.relative_to(NBS)), set()).add(path.stem)
    for folder, names in sorted(folders.items()):
        words = drawn.get(folder, "")
        if folder == "." or words[:1] == "(" or " " in words.replace("  ", ""): continue # in words, no list
        if set(words.split()) != names:
            yield f"CONTRIBUTING.md draws {folder}/ with {words}; it has {'  '.join(sorted(names))}"
    rows = re.findall(r"^\| \d+ \| (.+?) \|", said, re.M)
    if [re.findall(r"`([^`]+)`", row) for row in rows[::-1]] != FLOORS:
        yield f"the table of floors in CONTRIBUTING.md is not FLOORS of {SELF}, the lowest last"

def check_house():
    "imports point to lower floors, in no circle, to public names; one module knows the checkpoint's name"
    rooms, errs, arrows, owners = modules(), [], {}, []
    for name, (tree, notebook) in rooms.items():
        arrows[name] = {other for other, _ in imports(name, tree, rooms)} - {name}
        number, folder = floor(notebook)
        if number is None:
            errs.append(f"{NBS}/{notebook}.ipynb exports, and FLOORS of {SELF} has no floor for {folder}/")
            continue
        for other in sorted(arrows[name]):
            above, beside = floor(rooms[other][1])
            if above is not None and (above > number or above == number and beside != folder):
                errs.append(f"{NBS}/{notebook}.ipynb imports {other}, which is not on a lower floor")
        hidden = {(other, n) for other, n in imports(name, tree, rooms) if n and n[0] == "_" and n[:2] != "__"}
        errs += [f"{NBS}/{notebook}.ipynb imports {n} of {other}, which is that module's own"
                 for other, n in sorted(hidden)]
        if any("checkpoint.pt" in s for s in strings(tree)): owners.append(f"{NBS}/{notebook}.ipynb")
    errs += [f"a circle of imports: {' -> '.join(circle)}" for circle in circles(arrows)]
    if len(owners) > 1:
        errs.append(f"checkpoint.pt is named in {', '.join(owners)}: one of them owns it, and the others ask that one")
    return errs + list(wrong_drawing())

def lines_of(file):
    "(where, line) of a text file; of a notebook its sources and text outputs, without the pictures"
    if not file.endswith(".ipynb") or isinstance(nb := load(file), str):
        try: lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
        except ValueError: return [] # not text
        return [(str(number), line) for number, line in enumerate(lines, 1)]
    def flat(x): return x if isinstance(x, str) else "".join(map(str, x)) if isinstance(x, list) else json.dumps(x)
    parts = [("metadata", json.dumps(nb["metadata"]))]
    for cell in nb["cells"]:
        items = []
        for output in cell.get("outputs", []): items += [*output.items(), *output.get("data", {}).items()]
        outs = [flat(v) for k, v in items if k in ("text", "traceback") or k.startswith(("text/", "application/"))]
        parts += [(f"cell {cell.get('id')}", words) for words in [text(cell), *outs]]
    found = []
    for where, words in parts: found += [(where, line) for line in words.splitlines()]
    return found

def check_paths():
    "no file names a path of somebody's machine or a package index"
    errs = []
    for file in FILES:
        if file == SELF or (ROOT / file).is_symlink(): continue
        if hit := next(((w, m[0]) for w, l in lines_of(file) if (m := TRACES.search(l))), None):
            errs.append(f"{file}:{hit[0]} has {hit[1]!r}, a trace of a machine or a package index")
    return errs

def check_readme():
    "README.md is what index.ipynb yields"
    if f"{NBS}/index.ipynb" not in FILES: return [f"{NBS}/index.ipynb is missing"]
    from readme import readme
    try: want = readme(ROOT)
    except Exception as error: return [f"README.md cannot be made from {NBS}/index.ipynb: {error}"]
    have = (ROOT / "README.md").read_text(encoding="utf-8") if "README.md" in FILES else ""
    return [] if have == want else [f"README.md is not what {NBS}/index.ipynb yields: run `make readme`"]

CHECKS = {"export": check_export, "notebooks": check_notebooks, "house": check_house,
          "paths": check_paths, "readme": check_readme}

def main(names, checks=CHECKS):
    if unknown := set(names) - set(checks):
        sys.exit(f"no check called {', '.join(sorted(unknown))}; there are {', '.join(checks)}")
    bad = 0
    for name in names or checks:
        errs = checks[name]()
        for error in errs: print(f"FAIL {name}: {error}")
        if not errs: print(f"ok   {name}: {' '.join((checks[name].__doc__ or '').split())}")
        bad += len(errs)
    return 1 if bad else 0

if __name__ == "__main__": sys.exit(main(sys.argv[1:]))
