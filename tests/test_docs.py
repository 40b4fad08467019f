"""The pages of the site with what their notebooks export in them, as `make docs` hands them to Quarto."""
import json, re, subprocess, sys

from conftest import ENV
from test_repo import pristine, tree  # noqa: F401

def test_every_page_documents_what_its_notebook_exports(tree):  # noqa: F811
    "nbdev imports the modules and runs the cells with imports, so this takes half a minute; tests/check_docs.py has what is quick"
    env = {k: v for k, v in ENV.items() if k != "IN_TEST"} | {"PYTHONPATH": str(tree)}
    done = subprocess.run([sys.executable, "-W", "always::UserWarning:nbdev", "-c", "from nbdev.serve import proc_nbs\nproc_nbs(n_workers=0)"], cwd=tree, env=env, capture_output=True, text=True)
    assert done.returncode == 0 and "UserWarning" not in done.stderr, done.stderr[-2000:]
    pages = {p: p.read_text() for p in (tree/"_proc").rglob("*.ipynb")}
    def in_code(text): return [m for c in json.loads(text)["cells"] for o in c.get("outputs", []) for fence in re.findall(r"^```.*?^```", "".join(o.get("data", {}).get("text/markdown", "")), re.M | re.S) for m in re.findall(r"`\]\(http", fence)]
    assert any(map(in_code, pages.values()))
    assert subprocess.run([sys.executable, "tests/pages.py"], cwd=tree).returncode == 0
    after = {p: p.read_text() for p in pages}
    assert not any(map(in_code, after.values())) and all(len(json.loads(pages[p])["cells"]) == len(json.loads(after[p])["cells"]) for p in pages) and any("`](http" in t for t in after.values())
    again = subprocess.run([sys.executable, "-c", "from nbdev.serve import proc_nbs\nproc_nbs(n_workers=0)"], cwd=tree, env=env, capture_output=True, text=True)
    assert again.returncode == 0 and {p: p.read_text() for p in pages} == after  # nbdev_docs leaves them so
    index = {}
    exec((tree/"noisykit/_modidx.py").read_text(), index)
    for module, symbols in index["d"]["syms"].items():
        for name, (page, _) in symbols.items():
            name = name.removeprefix(module + ".")
            if "." in name or name[0] == "_": continue
            of = [t for t in after.values() if f"output-file: {page.split('#')[0]}" in t]
            assert len(of) == 1, (module, page)
            shown = [c for c in json.loads(of[0])["cells"] if f"show_doc({name})" in "".join(c["source"])]
            assert len(shown) == 1 and "source" in json.dumps(shown[0]["outputs"]), f"{name} has no description on the page of {module}"
