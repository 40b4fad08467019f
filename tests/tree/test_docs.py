"""The pages of the site with what their notebooks export in them, as `make docs` hands them to Quarto."""
import inspect
import json
import re
import subprocess
import sys
from importlib import import_module

import click
import pytest
from conftest import ENV, ROOT
from noisykit.explore.widgets import Picture
from test_repo import pristine, tree  # noqa: F401

sys.path.append(str(ROOT/"tests/tools"))
import pages as site_pages # noqa: E402

@pytest.mark.parametrize("made, page", [
    ("[`run_method`](SITE/run/run.html#run_method) runs", "[`run_method`](SITE/run/run.html#run_method) runs"),
    ("[`Run`](SITE/a.html), [`text()`](SITE/b.html)", "[`Run`](SITE/a.html), [`text()`](SITE/b.html)"),
    ("[`noise_rate`](SITE/a.html) and [`text`](SITE/b.html#text)", "`noise_rate` and `text`"),
    ("see [[`run_method`](SITE/run.html#x)](run.ipynb)", "see [`run_method`](run.ipynb)"),
    ("see [the [`Run`](SITE/a.html) page](b.ipynb)", "see [the `Run` page](b.ipynb)"),
    ("[`text`](texts.ipynb)", "[`text`](texts.ipynb)")])
def test_automatic_links_that_a_reader_would_follow(made, page):
    made, page = (words.replace("SITE", site_pages.SITE) for words in (made, page))
    assert site_pages.led_astray(made, site_pages.settings()) == page

def test_a_picture_gets_the_words_above_it():
    cells = [dict(cell_type="markdown", source="# A\n\n> b"), dict(cell_type="markdown", source="The *red* \"line\"."),
             dict(cell_type="code", source="#| echo: false\nx", outputs=[dict(data={"image/png": ""})])]
    site_pages.described(cells)
    site_pages.described(cells)
    assert cells[2]["source"] == '#| fig-alt: "The red \\"line\\"."\n#| echo: false\nx'

def staged(root, *flags):
    "nbdev's pages, with a process that imports the modules: path -> text"
    env = {k: v for k, v in ENV.items() if k != "IN_TEST"} | {"PYTHONPATH": str(root)}
    code = "from nbdev.serve import proc_nbs\nproc_nbs(n_workers=0)"
    done = subprocess.run([sys.executable, *flags, "-c", code], cwd=root, env=env, capture_output=True, text=True)
    assert done.returncode == 0 and "UserWarning" not in done.stderr, done.stderr[-2000:]
    return {p.relative_to(root/"_proc"): p.read_text() for p in (root/"_proc").rglob("*.ipynb")}

def links_in_code(text):
    "Links in the fenced code of a page's outputs, where they are shown as they are written"
    outputs = [o for c in json.loads(text)["cells"] for o in c.get("outputs", [])]
    markdown = ["".join(o.get("data", {}).get("text/markdown", "")) for o in outputs]
    fences = [fence for md in markdown for fence in re.findall(r"^```.*?^```", md, re.M | re.S)]
    return [link for fence in fences for link in re.findall(r"`\]\(http", fence)]

def address(path, text):
    "The page's address on the site"
    return (path.parent/re.search(r"output-file: (\S+?)\\n", text)[1]).as_posix()

def reads_widgets():
    "Whether nbdev can describe a widget: inspect of Python 3.11.2 takes the signature of traitlets' `__new__` for it"
    try: return bool(inspect.signature(Picture, eval_str=True))
    except NameError: return False

@pytest.mark.skipif(not reads_widgets(), reason="with this Python's inspect, nbdev cannot read widgets")
def test_every_page_documents_what_its_notebook_exports(tree):  # noqa: F811
    "nbdev imports the modules and runs cells with imports: a minute; tests/tools/check_docs.py has what is quick"
    pages = staged(tree, "-W", "always::UserWarning:nbdev")
    assert any(map(links_in_code, pages.values()))
    assert subprocess.run([sys.executable, "tests/tools/pages.py"], cwd=tree).returncode == 0
    after = {p: (tree/"_proc"/p).read_text() for p in pages}
    assert not any(map(links_in_code, after.values())) and any("`](http" in t for t in after.values())
    assert all(len(json.loads(pages[p])["cells"]) == len(json.loads(after[p])["cells"]) for p in pages)
    assert staged(tree) == after # nbdev_docs leaves them so
    index, at = {}, {address(p, t): t for p, t in after.items()}
    assert len(at) == len(after)
    exec((tree/"noisykit/_modidx.py").read_text(), index)
    for module, symbols in index["d"]["syms"].items():
        for name, (page, _) in symbols.items():
            name = name.removeprefix(module + ".")
            if "." in name or name[0] == "_": continue
            if isinstance(getattr(import_module(module), name), click.Command): continue # its help describes it
            cells = json.loads(at[page.split("#")[0]])["cells"]
            shown = [c for c in cells if f"show_doc({name})" in "".join(c["source"])]
            assert len(shown) == 1 and "source" in json.dumps(shown[0]["outputs"]), f"{name} is not described on {page}"
