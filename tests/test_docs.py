"""The pages of the site with what their notebooks export in them, as `make docs` hands them to Quarto."""
import json, subprocess, sys

from conftest import ENV
from test_repo import pristine, tree  # noqa: F401

def test_every_page_documents_what_its_notebook_exports(tree):  # noqa: F811
    "nbdev imports the modules and runs the cells with imports, so this takes half a minute; tests/check_docs.py has what is quick"
    env = {k: v for k, v in ENV.items() if k != "IN_TEST"} | {"PYTHONPATH": str(tree)}
    done = subprocess.run([sys.executable, "-W", "always::UserWarning:nbdev", "-c", "from nbdev.serve import proc_nbs\nproc_nbs(n_workers=0)"], cwd=tree, env=env, capture_output=True, text=True)
    assert done.returncode == 0 and "UserWarning" not in done.stderr, done.stderr[-2000:]
    index = {}
    exec((tree/"noisykit/_modidx.py").read_text(), index)
    for module, symbols in index["d"]["syms"].items():
        for name, (page, _) in symbols.items():
            name = name.removeprefix(module + ".")
            if "." in name or name[0] == "_": continue
            pages = [p for p in (tree/"_proc").rglob("*.ipynb") if f"output-file: {page.split('#')[0]}" in p.read_text()]
            assert len(pages) == 1, (module, page)
            shown = [c for c in json.loads(pages[0].read_text())["cells"] if f"show_doc({name})" in "".join(c["source"])]
            assert len(shown) == 1 and "source" in json.dumps(shown[0]["outputs"]), f"{name} has no description on the page of {module}"
