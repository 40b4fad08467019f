"""The checks of tests/tools/check_tree.py and tests/tools/check_docs.py can fail: each is shown a copy of the tree with
a fault."""
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from readme import readme

ROOT = Path(__file__).resolve().parents[2]
ENV = {k: v for k, v in os.environ.items() if not k.startswith(("GIT_", "MAKE", "MFLAGS")) and k != "IN_TEST"}

def sh(*args, cwd):
    return subprocess.run(args, cwd=cwd, env=ENV, capture_output=True, text=True, stdin=subprocess.DEVNULL)

def fingerprint(root):
    "Path -> hash of everything that git may see"
    files = [p for p in sorted(root.rglob("*")) if p.is_file() and not {"__pycache__", ".git"} & set(p.parts)]
    return {p.relative_to(root).as_posix(): hashlib.sha1(p.read_bytes()).hexdigest() for p in files}

@pytest.fixture(scope="session")
def pristine(tmp_path_factory):
    "What git would take from the working tree, in a repository of its own"
    dst = tmp_path_factory.mktemp("tree") / "noisykit"
    for f in sh("git", "ls-files", "-coz", "--exclude-standard", cwd=ROOT).stdout.split("\0"):
        if f and os.path.lexists(ROOT / f):
            (dst / f).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / f, dst / f, follow_symlinks=False)
    assert sh("git", "init", "-q", cwd=dst).returncode == 0
    return dst

@pytest.fixture
def tree(pristine, tmp_path): return Path(shutil.copytree(pristine, tmp_path / "noisykit", symlinks=True))

DOCS = ["site", "links", "commands", "results", "workflows", "pages"]

def check(tree, *names):
    r = sh(sys.executable, f"tests/tools/check_{'docs' if set(names) & set(DOCS) else 'tree'}.py", *names, cwd=tree)
    assert r.stderr == ""
    return r.returncode, r.stdout

def refused(tree, name, *words):
    "The check `name` exits 1, and one of its lines has all `words`"
    rc, out = check(tree, name)
    assert rc == 1 and f"ok   {name}" not in out, out
    assert any(l.startswith(f"FAIL {name}: ") and all(w in l for w in words) for l in out.splitlines()), out

def edit(path, change):
    "Change a notebook as nbdev_clean would write it"
    nb = json.loads(path.read_text(encoding="utf-8"))
    change(nb)
    path.write_text(json.dumps(nb, sort_keys=True, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

def is_params(c): return "parameters" in c["metadata"].get("tags", [])
def params(nb): return next(c for c in nb["cells"] if is_params(c))
def is_run(path): return any(map(is_params, json.loads(path.read_text(encoding="utf-8"))["cells"]))
NOTEBOOKS = [p for p in sorted((ROOT / "nbs").rglob("*.ipynb")) if p.parent.name[0] != "."]
RUN_NBS = [p.relative_to(ROOT).as_posix() for p in NOTEBOOKS if is_run(p)]
assert {"nbs/run_method.ipynb", "nbs/explore.ipynb"} <= set(RUN_NBS)
def code(nb): return next(c for c in nb["cells"] if c["cell_type"] == "code")

def test_the_tree_passes_and_is_left_alone(tree):
    before = fingerprint(tree)
    rc, out = check(tree)
    assert rc == 0, out
    names = ["export", "notebooks", "house", "paths", "readme"]
    assert [l.split(":")[0] for l in out.splitlines()] == [f"ok   {name}" for name in names]
    rc, out = check(tree, *DOCS)
    assert rc == 0 and [l.split(":")[0] for l in out.splitlines()] == [f"ok   {c}" for c in DOCS], out
    assert fingerprint(tree) == before

@pytest.mark.parametrize("script", ["check_tree", "check_docs"])
def test_unknown_check(tree, script):
    assert sh(sys.executable, f"tests/tools/{script}.py", "exprot", cwd=tree).returncode == 1

def test_edited_module(tree):
    with open(tree / "noisykit/data/noise.py", "a") as f: f.write("x = 1\n")
    refused(tree, "export", "noisykit/data/noise.py", "nbdev_export")
    assert (tree / "noisykit/data/noise.py").read_text().endswith("x = 1\n")  # the check did not write over it

def test_edited_module_in_a_folder(tree):
    with open(tree / "noisykit/methods/l2r.py", "a") as f: f.write("x = 1\n")
    refused(tree, "export", "noisykit/methods/l2r.py", "nbdev_export")

def add_to_module(notebook, line):
    "Another line in the first exported cell"
    def change(nb):
        cell = next(c for c in nb["cells"] if "".join(c["source"]).startswith("#| export"))
        cell["source"].append(f"\n{line}")
    edit(notebook, change)

def test_notebook_edited_but_not_exported(tree):
    add_to_module(tree / "nbs/data/noise.ipynb", "new_name = 1")
    refused(tree, "export", "noisykit/data/noise.py", "nbdev_export")

def test_notebook_that_cannot_be_exported(tree):
    add_to_module(tree / "nbs/data/noise.ipynb", "def (")
    refused(tree, "export", "nbdev_export/nbdev_clean failed", "SyntaxError")

def test_a_line_that_is_too_long(tree):
    counts = sys.executable, "tests/tools/counts.py"
    assert sh(*counts, cwd=tree).returncode == 0
    add_to_module(tree / "nbs/data/noise.ipynb", f"# {'x'*120}")
    done = sh(*counts, cwd=tree)
    assert done.returncode == 1 and "FAIL counts: lines over 120: 1, at most 0 is allowed" in done.stdout

@pytest.mark.parametrize("name", ["orphan.py", "methods/orphan.py"])
def test_orphan_module(tree, name):
    (tree / "noisykit" / name).write_text("# AUTOGENERATED! DO NOT EDIT! File to edit: ../nbs/gone.ipynb.\n")
    refused(tree, "export", f"noisykit/{name}", "no notebook")

def test_missing_module(tree):
    (tree / "noisykit/data/noise.py").unlink()
    refused(tree, "export", "noisykit/data/noise.py", "missing")

def test_executed_notebook(tree):
    edit(tree / "nbs/data/noise.ipynb", lambda nb: code(nb).update(execution_count=3))
    refused(tree, "export", "nbs/data/noise.ipynb", "nbdev_clean")

def test_broken_notebook(tree):
    (tree / "nbs/data/noise.ipynb").write_text("<<<<<<< HEAD\n{}\n")
    refused(tree, "export", "nbs/data/noise.ipynb", "JSON")
    refused(tree, "notebooks", "nbs/data/noise.ipynb", "JSON")

@pytest.mark.parametrize("notebook", RUN_NBS)
def test_parameters_tag_removed(tree, notebook):
    edit(tree / notebook, lambda nb: params(nb).update(metadata={}))
    refused(tree, "notebooks", notebook, "parameters")

def test_that_is_seen_by_no_other_check(tree):
    for notebook in RUN_NBS: edit(tree / notebook, lambda nb: params(nb).update(metadata={}))
    assert check(tree, "export")[0] == 0

def _two(nb): nb["cells"].append({**params(nb), "id": "second"})
def _late(nb): nb["cells"].insert(0, {**params(nb), "id": "before", "metadata": {}})
def _silent(nb): params(nb)["source"].append("\nepochs = 3")
def _renamed(nb): params(nb)["source"] = ["methd = 'l2r'\n", "run_dir = ''"]
def _magic(nb): params(nb)["source"] = ["%time method = run_dir = ''"]
def _tested(nb): nb["cells"] = [c for c in nb["cells"] if "skip_exec" not in "".join(c["source"])]

def _shown(nb):
    title = next(c for c in nb["cells"] if "skip_exec" in "".join(c["source"]))
    title["source"] = [line for line in title["source"] if line.strip() not in ("<!--", "-->")]

WRONG = [(_two, "2 cells"), (_late, "first code cell"), (_renamed, "method"), (_magic, "plain Python"),
         (_tested, "skip_exec"), (_shown, "in a comment"), (_silent, "no comment")]

@pytest.mark.parametrize("change, word", WRONG)
def test_parameters_cell(tree, change, word):
    edit(tree / "nbs/run_method.ipynb", change)
    refused(tree, "notebooks", "nbs/run_method.ipynb", word)

def _error(nb): code(nb)["outputs"] = [{"output_type": "error", "ename": "E", "evalue": "", "traceback": []}]
def _kernel(nb): nb["metadata"]["kernelspec"]["name"] = "mine"
def _minor(nb): nb["nbformat_minor"] = 4
def _id(nb): nb["cells"][1]["id"] = nb["cells"][0]["id"]
def _big(nb): code(nb)["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["x" * 200_001]}]
def _widget(nb):
    view = {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}}
    code(nb)["outputs"] = [{"output_type": "display_data", "metadata": {}, "data": view}]
def _todo(nb): nb["cells"][-1]["source"] = ["TO", "DO: say why"]
def _dtype(nb): nb["cells"][-1]["source"] = ["torch.set_default_dtype(torch.float64)"]
def _string(nb): nb["cells"][-1]["source"] = "two\nlines"

@pytest.mark.parametrize("change, word", [(_error, "error output"), (_kernel, "kernel"), (_minor, "4.4"), (_id, "id"),
                                          (_big, "kB"), (_widget, "stores widgets"), (_todo, "TODO"),
                                          (_string, "one long string"), (_dtype, "torch.float64")])
def test_notebook_state(tree, change, word):
    edit(tree / "nbs/data/noise.ipynb", change)
    refused(tree, "notebooks", "nbs/data/noise.ipynb", word)

@pytest.mark.parametrize("module, line, words", [
    ("data/noise", "from ..run import run_method", ["nbs/data/noise.ipynb", "noisykit.run", "lower floor"]),
    ("data/noise", "def f():\n    from noisykit.train.method import Method", ["noisykit.train.method", "lower floor"]),
    ("data/noise", "import noisykit.plots.runs", ["noisykit.plots.runs", "lower floor"]),
    ("datasets/cifar", "from ..train.method import Method", ["noisykit.train.method", "lower floor"]),
    ("errors", "from noisykit import record\nfrom noisykit.record import Run", ["circle", "errors -> noisykit.record"]),
    ("methods/l2r", "from ..train.method import _made_up", ["_made_up of noisykit.train.method"]),
    ("explore/noise", "path = f'{path}/checkpoint.pt'", ["checkpoint.pt", "nbs/explore/noise.ipynb"])])
def test_the_house(tree, module, line, words):
    if "circle" in words:
        with open(tree / "noisykit/record.py", "a") as f: f.write("from .errors import ranged\n")
    with open(tree / f"noisykit/{module}.py", "a") as f: f.write(line + "\n")
    refused(tree, "house", *words)

@pytest.mark.parametrize("old, new, words", [
    ("  train/        method", "  train/        methods", ["draws train/", "method"]),
    ("  lessons/ ", "  lesons/ ", ["draws lessons/"]),
    ("`train`, `datasets`", "`train`", ["FLOORS"]), ("  plots/ ", "  plots/         more ", ["draws plots/"])])
def test_the_drawing(tree, old, new, words):
    page = tree / "CONTRIBUTING.md"
    assert old in page.read_text()
    page.write_text(page.read_text().replace(old, new))
    refused(tree, "house", "CONTRIBUTING.md", *words)

def test_a_room_has_a_floor(tree):
    module = "# AUTOGENERATED! DO NOT EDIT! File to edit: ../../nbs/attic/new.ipynb.\n"
    (tree / "noisykit/attic").mkdir()
    (tree / "noisykit/attic/new.py").write_text(module)
    refused(tree, "house", "nbs/attic/new.ipynb", "no floor")

def test_a_trace_of_a_machine(tree):
    (tree / "notes.md").write_text("see /" + "home/somebody/noisykit\n")
    refused(tree, "paths", "notes.md:1")
    (tree / "notes.md").write_text("see runs/home/somebody and https://example.org/" + "home/page\n")
    assert check(tree, "paths")[0] == 0
    warning = "/opt/v/lib/python3.11/" + "site-packages/x.py:1: UserWarning\n"
    def warn(nb): code(nb)["outputs"] = [{"output_type": "stream", "name": "stderr", "text": [warning]}]
    edit(tree / "nbs/data/noise.ipynb", warn)
    refused(tree, "paths", "nbs/data/noise.ipynb")

def test_what_git_ignores_is_not_looked_at(tree):
    for f in ("runs/a/run.ipynb", "data/mine/x.txt", "nbs/.ipynb_checkpoints/index-checkpoint.ipynb"):
        (tree / f).parent.mkdir(parents=True, exist_ok=True)
        (tree / f).write_text("/" + "home/somebody")
    assert check(tree)[0] == 0

def new_page(path, title="Something new"):
    "A notebook at `path`, with a title of its own"
    path.parent.mkdir(exist_ok=True)
    shutil.copy(ROOT / "nbs/evaluate_run.ipynb", path)
    def change(nb):
        cell = next(c for c in nb["cells"] if c["cell_type"] == "markdown")
        cell["source"] = [f"# {title}\n", "\n", "> One line.\n", "\n", "<!--\n", "- skip_exec: true\n", "-->"]
    edit(path, change)

@pytest.mark.parametrize("name", ["new.ipynb", "data/new.ipynb", "more/new.ipynb"])
def test_unlisted_notebook(tree, name):
    new_page(tree / "nbs" / name)
    refused(tree, "site", name, "not in the sidebar")

@pytest.mark.parametrize("name", ["methods/new", "datasets/new", "studies/new", "lessons/99_new"])
def test_what_one_adds_needs_no_row(tree, name):
    new_page(tree / f"nbs/{name}.ipynb")
    rc, out = check(tree, "site")
    assert rc == 0, out

@pytest.mark.parametrize("title", ["Evaluate a run", "12. Evaluate a *Run*"])
def test_two_pages_of_one_title(tree, title):
    new_page(tree / "nbs/methods/new.ipynb", title)
    refused(tree, "site", "nbs/methods/new.ipynb", "nbs/evaluate_run.ipynb", "same title")

def test_listed_notebook_gone(tree):
    (tree / "nbs/data/noise.ipynb").unlink()
    refused(tree, "site", "data/noise.ipynb", "not in nbs/")

def test_a_pattern_without_files(tree):
    shutil.rmtree(tree / "nbs/bench")
    refused(tree, "site", "bench/*.ipynb", "not in nbs/")

@pytest.mark.parametrize("old, new, word", [
    ("navbar:", "navbr:", "navbr"), ("output-dir: _docs", "output-dir: site", "output-dir"),
    ("css: styles.css", "css: style.css", "style.css"), ("favicon.svg", "favicon.png", "favicon.png"),
    ("- index.ipynb", "- index.ipynb\n      - index.ipynb", "twice"), ("website:", "website: [", "cannot be read")])
def test_quarto_yml(tree, old, new, word):
    q = tree / "_quarto.yml"
    assert old in q.read_text()
    q.write_text(q.read_text().replace(old, new))
    refused(tree, "site", "_quarto.yml", word)

def test_quarto_link_became_a_file(tree):
    (tree / "nbs/_quarto.yml").unlink()
    shutil.copy(tree / "_quarto.yml", tree / "nbs/_quarto.yml")
    refused(tree, "site", "nbs/_quarto.yml", "link")

def test_readme_edited(tree):
    with open(tree / "README.md", "a") as f: f.write("more\n")
    refused(tree, "readme", "README.md", "make readme")
    assert sh(sys.executable, "tests/tools/readme.py", cwd=tree).returncode == 0
    assert check(tree, "readme")[0] == 0

def markdown(source): return dict(cell_type="markdown", metadata={}, source=[source])

def python(source, *outputs):
    return dict(cell_type="code", metadata={}, execution_count=None, source=[source], outputs=list(outputs))

def display(**data): return dict(output_type="display_data", metadata={}, data=data)

PAGE = ("# T\n\n[n](data/noise.ipynb) [d](../data/README.md#x) [w](https://a.b/c.ipynb) [h](#t) `a[0](b)`\n\n"
        "```\nz[1](y)\n```")
SEEN = ["```python\nrows[0](x)\n```", "    a table", "[n](nbs/data/noise.ipynb)", "[d](data/README.md#x)",
        "[w](https://a.b/c.ipynb)", "[h](#t)", "`a[0](b)`", "\nz[1](y)\n"]

def test_readme_of_a_notebook(tree):
    table = display(**{"text/plain": ["a table"], "text/html": ["<b>a</b>"]})
    cells = [dict(cell_type="raw", metadata={}, source=["---\nskip_exec: true\n---"]), python("#| hide\nsecret"),
             python("#|eval: false\nrows[0](x)"), python("#| echo: false\nquiet", table),
             python("#| include: false\nsecret"), python("#| export"), markdown(PAGE)]
    file = tree / "nbs/index.ipynb"
    new = dict(nbformat=4, nbformat_minor=5, metadata={}, cells=[{**c, "id": f"c{i}"} for i, c in enumerate(cells)])
    file.write_text(json.dumps(new))
    text = readme(tree)
    for words in SEEN: assert words in text
    for words in ("secret", "quiet", "<b>", "skip_exec", "#|"): assert words not in text
    new["cells"].append({**python("plot", display(**{"image/png": "aGk="})), "id": "fig"})
    file.write_text(json.dumps(new))
    with pytest.raises(ValueError, match="fig has a figure"): readme(tree)
    refused(tree, "readme", "README.md", "fig has a figure")

def test_no_index(tree):
    (tree / "nbs/index.ipynb").unlink()
    refused(tree, "readme", "nbs/index.ipynb is missing")

def add(path, source, kind="markdown", **cell):
    edit(path, lambda nb: nb["cells"].append(dict(cell_type=kind, id="added", metadata={}, source=[source]) | cell))

@pytest.mark.parametrize("source, word", [
    ("`a[0](b)` [gone](no_such.ipynb)", "no_such.ipynb"), ("![a picture](pictures/a.png)", "pictures/a.png"),
    ("[r](../../results/README.md)", "the site does not have"), ("[up](/noise.html)", "/noise.html"),
    ("[a heading](#no-such-heading)", "#no-such-heading"), ("<img src='a.png'>", "a.png"),
    ("[b](../train/metagrad.ipynb#no-such)", "no heading of nbs/train/metagrad.ipynb"),
    ("[r]\n\n[r]: gone.md", "gone.md"), ("as @fig-curves shows", "@fig-curves"),
    ("see `nbs/11_gone.ipynb`", "nbs/11_gone.ipynb"), ("see `results/gone.csv`", "results/gone.csv"),
    ("see `noisykit.data.gone`", "noisykit.data.gone"), ("see `noisykit.run.gone`", "noisykit.run.gone"),
    ("```python\nfrom noisykit.data.noise import gone\n```", "noisykit.data.noise.gone"),
    ("as in 08_run", "08_run"), ("see [06b](../methods/l2r.ipynb)", "the number 6")])
def test_link_leads_nowhere(tree, source, word):
    add(tree / "nbs/data/noise.ipynb", source)
    refused(tree, "links", "nbs/data/noise.ipynb", word)

GOOD_LINKS = """[m](../train/metagrad.ipynb) [w](https://a.b/c.md) [s](#x.y-1-two-_z) [d](#twice-1) [e](#named)

```
[no](link)
```

## 3. X.y 1: *Two*, [`_z`](../index.ipynb)

## Twice

## Twice

## Other {#named}

mail@fig-x.org"""

def test_links_that_lead_somewhere(tree):
    add(tree / "nbs/data/noise.ipynb", GOOD_LINKS)
    rc, out = check(tree, "links")
    assert rc == 0, out

def test_links_of_text_files(tree):
    links = "[gone](nbs/gone.ipynb), [there](results/README.md), [no](#no-such) [yes](#what-is-asked-v2)"
    with open(tree / "CONTRIBUTING.md", "a") as f: f.write(f"\n{links}\n\n## What is asked? (v.2)\n")
    rc, out = check(tree, "links")
    assert rc == 1 and out.count("FAIL") == 2 and "nbs/gone.ipynb" in out and "#no-such" in out, out

RUN = "papermill nbs/run_method.ipynb"

@pytest.mark.parametrize("line, word", [
    ("papermill nbs/gone.ipynb out.ipynb", "nbs/gone.ipynb"), (f"{RUN} out.ipynb -p methd l2r", "methd"),
    (f"{RUN} out.ipynb -y 'optoins: {{a: 1}}'", "optoins"), (f"{RUN} out.ipynb -y 'options: {{a'", "-y"),
    (f"{RUN} -y 'o", "no command")])
def test_papermill_lines(tree, line, word):
    good = f"{RUN} out.ipynb -p method l2r    # a remark isn't run\nnoisykit run -p method l2r\nnoisykit list data"
    add(tree / "nbs/data/noise.ipynb", f"```sh\n{good}\n{line}\n```")
    rc, out = check(tree, "commands")
    assert rc == 1 and out.count("FAIL") == 1 and "nbs/data/noise.ipynb" in out and word in out, out

def test_results_have_their_commands(tree):
    readme = tree / "results/README.md"
    was = readme.read_text()
    shutil.copy(tree / "results/bench/loader.csv", tree / "results/new.csv")
    now = was.replace("| `l2r/mnist5k.csv` |", "| `gone.csv` |")
    now = now.replace("-p out results/bench/loader.csv", "-p out results/other.csv")
    readme.write_text(now.replace("bench/metastep.csv` | 2026-11-21, 2 CPU cores", "bench/metastep.csv` | "))
    published = "performance,cifar10,symmetric,0.4,X,,paper,99.0,,\n"
    with open(tree / "results/sln/published.csv", "a") as f: f.write(published)
    rc, out = check(tree, "results")
    said = [["results/new.csv has no command"], ["results/l2r/mnist5k.csv has no command"], ["lists gone.csv"],
            ["bench/loader.csv", "does not write it"], ["bench/metastep.csv", "when"], ["published.csv", "source"]]
    for words in said: assert any(all(word in line for word in words) for line in out.splitlines()), (words, out)
    assert rc == 1 and out.count("FAIL") == 6, out

PICTURE = {"output_type": "display_data", "metadata": {}, "data": {"image/png": "AAAA"}}

@pytest.mark.parametrize("old, new, word", [
    ("actions/checkout@v7", "actions/checkout@main", "actions/checkout@main"),
    ("          version: 1.9.38\n", "          tinytex: false\n", "Quarto")])
def test_workflows_name_versions(tree, old, new, word):
    file = tree / ".github/workflows/docs.yaml"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    refused(tree, "workflows", "docs.yaml", word)

def test_pages(tree):
    "One thing wrong in each of several notebooks"
    nbs = tree / "nbs"
    def title(nb): return next(c for c in nb["cells"] if c["cell_type"] == "markdown")
    edit(nbs / "data/noise.ipynb", lambda nb: title(nb).update(source=["# Label noise\n\n> Laws.\n\nThis is lost."]))
    edit(nbs / "ground/networks.ipynb", lambda nb: title(nb).update(source=["# Networks"]))
    add(nbs / "train/metagrad.ipynb", "import os\nos.getcwd()", "code", outputs=[], execution_count=None)
    add(nbs / "train/batchnorm.ipynb", "Of two kinds:\n- one\n- two")
    edit(nbs / "data/images.ipynb", lambda nb: title(nb).update(source=["# Images\n\n> Decoded.\n\n- `a`: b\n- c: d"]))
    add(nbs / "evaluate_run.ipynb", "x = 1\n#| export", "code", outputs=[], execution_count=None)
    add(nbs / "audit.ipynb", "![ ](images/make_run.png)")
    add(nbs / "data/split.ipynb", "| a | b |\n|---|---|\n| one | " + "word "*20 + "|")
    def silent(nb): nb["cells"].insert(0, dict(code(nb), id="bare", source=["x"], outputs=[PICTURE]))
    edit(nbs / "data/views.ipynb", silent)
    (nbs / "images").mkdir(exist_ok=True)
    (nbs / "images/settings.ini").touch() # a name that nbdev leaves out
    rc, out = check(tree, "pages")
    said = {"data/noise": "This is lost.", "ground/networks": "no description", "train/metagrad": "cell added",
            "train/batchnorm": "no empty line", "data/images": "- `a`: b", "evaluate_run": "cell added would be",
            "audit": "no words", "data/views": "picture of cell bare", "data/split": "dashes as ------|----"}
    for f, word in said.items():
        assert any(l.startswith(f"FAIL pages: nbs/{f}.ipynb") and word in l for l in out.splitlines()), (f, out)
    assert rc == 1 and out.count("FAIL") == 10 and "does not take nbs/images/settings.ini" in out, out

@pytest.mark.parametrize("names, page", [(["data/12_noise"], "data/noise.html"),
                                         (["lessons/98_a", "lessons/99b_a"], "lessons/a.html")])
def test_one_page_one_name(tree, names, page):
    for n in names: new_page(tree / f"nbs/{n}.ipynb", n)
    refused(tree, "site", "one page", page)

@pytest.mark.parametrize("old, new, words", [
    ("- auto: lessons/*.ipynb",
     "- lessons/02_memorisation.ipynb\n          - lessons/01_what_label_noise_does.ipynb",
     ["lessons/01_what_label_noise_does.ipynb after lessons/02_memorisation.ipynb"]),
    ("- index.ipynb\n", "- many_runs.ipynb\n      - index.ipynb\n", ["starts with index.ipynb"]),
    ("- commands.ipynb\n", "- commands.ipynb\n          - data/noise.ipynb\n", ["data/ in several sections", "Data"])])
def test_sidebar_in_order(tree, old, new, words):
    q = tree / "_quarto.yml"
    assert old in q.read_text()
    q.write_text(q.read_text().replace(old, new))
    refused(tree, "site", "sidebar", *words)

@pytest.mark.parametrize("notebook", RUN_NBS)
def test_papermill_parameters_land_behind_the_defaults(notebook, tmp_path):
    papermill = pytest.importorskip("papermill")
    given = {"anything": "nondefault"}
    papermill.execute_notebook(str(ROOT / notebook), str(tmp_path / "out.ipynb"), parameters=given, prepare_only=True)
    cells = json.loads((tmp_path / "out.ipynb").read_text(encoding="utf-8"))["cells"]
    at = [i for i, c in enumerate(cells) if is_params(c)]
    assert len(at) == 1
    injected = cells[at[0] + 1]
    assert "injected-parameters" in injected["metadata"]["tags"] and "nondefault" in "".join(injected["source"])

def make(tree, *args): return sh("make", "--no-print-directory", *args, cwd=tree)

@pytest.mark.skipif(not shutil.which("make"), reason="no make")
def test_make_installs_once(tree, tmp_path):
    venv = tmp_path / "v"
    assert "pip install" in make(tree, "-n", "setup", f"VENV={venv}").stdout
    venv.mkdir()
    (venv / ".noisykit-installed").touch()
    assert "pip install" not in make(tree, "-n", "test", f"VENV={venv}").stdout
    os.utime(tree / "nbs/data/noise.ipynb", (2e9, 2e9))
    assert "pip install" not in make(tree, "-n", "test", f"VENV={venv}").stdout  # a newer notebook does not count
    os.utime(tree / "settings.ini", (2e9, 2e9))
    assert "pip install" in make(tree, "-n", "test", f"VENV={venv}").stdout

@pytest.mark.skipif(not shutil.which("make"), reason="no make")
def test_make_says_what_is_missing(tree, tmp_path):
    old = tmp_path / "oldpython"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    for python in (old, tmp_path / "none"):
        r = make(tree, "setup", f"PYTHON={python}", f"VENV={tmp_path / 'v'}")
        assert r.returncode and "Python 3.11 or newer" in r.stderr and not (tmp_path / "v").exists()
    noensure = tmp_path / "noensurepip"  # a Python without its venv package
    noensure.write_text(f'#!/bin/sh\ncase "$2" in *ensurepip*) exit 1;; esac\nexec "{sys.executable}" "$@"\n')
    noensure.chmod(0o755)
    r = make(tree, "setup", f"PYTHON={noensure}", f"VENV={tmp_path / 'v'}")
    assert r.returncode and "python3-venv" in r.stderr and not (tmp_path / "v").exists()
