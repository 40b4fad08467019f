"""Nothing in the package opens a door: no call that could run what a file holds, no template that takes names as html,
and `make lab` for this machine alone."""
import ast
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from conftest import CHROMIUM, ENV, ROOT
from held import PATIENCE, until
from noisykit.audit.page import audit_page
from noisykit.command import lab_words, main

# ---- calls

def calls(path):
    "(name with dots, node) of the calls in a module"
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call): continue
        yield ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}

def wrong(name, how):
    "Whether a call could run what a file holds, or unpack it somewhere"
    if name == "torch.load": return how.get("weights_only") != "True"
    if name == "np.load": return how.get("allow_pickle") != "False"
    if name.endswith(".from_pretrained"): return how.get("trust_remote_code", "False") != "False"
    if how.get("shell") == "True": return True
    last = name.rpartition(".")[2]
    return name in ("eval", "exec", "yaml.load", "pickle.load", "pickle.loads", "os.system", "torch.hub.load",
                    "pd.read_pickle") or last in ("extractall", "unpack_archive", "unsafe_load", "full_load")

# what a process of ours has written into its own folder; a loader that is a SafeLoader
KNOWN = {("processes.py", "pickle.loads"), ("study.py", "yaml.load")}

def test_no_call_runs_what_a_file_holds():
    found = []
    for path in sorted((ROOT/"noisykit").rglob("*.py")):
        found += [(path.name, name) for name, how in calls(path) if wrong(name, how)]
    assert set(found) <= KNOWN
    assert "class _Loader(yaml.SafeLoader)" in (ROOT/"noisykit/study.py").read_text()
    templates = "".join(path.read_text() for path in (ROOT/"noisykit").rglob("*.jinja"))
    assert re.findall(r"\{\{[^}]*\bsafe\b[^}]*\}\}", templates) == ["{{ script | safe }}"]
    assert "autoescape=True" in (ROOT/"noisykit/audit/page.py").read_text()

# ---- names in the audit's page

NAMES = ["<script>document.title='ran'</script>", "\" onerror=\"document.title='ran'", "' onload='x", "javascript:x",
         "<img src=x onerror=document.title='ran'>", "`tick`", "a\nb", "</title><b>", "{{ 7*7 }}", "&lt;",
         "[x](javascript:y)"]

class Tags(HTMLParser):
    "The tags of a page with their attributes"
    def __init__(self, page):
        super().__init__()
        self.found, self.text = [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes): self.found.append((tag, dict(attributes)))
    def handle_data(self, data): self.text.append(data)

@pytest.fixture
def page(tmp_path):
    "A page in which every name is hostile"
    paths = {name: tmp_path/f"{i}.png" for i, name in enumerate(NAMES)}
    for path in paths.values(): Image.new("RGB", (9, 9)).save(path)
    def row(i, name): return dict(rank=i + 1, path=name, label=name, suggested=name, score=.5, given_prob=.1,
                                  suggested_prob=.7, doubted=True)
    ranking = pd.DataFrame([row(i, name) for i, name in enumerate(NAMES)])
    per_class = [dict(label=name, images=9, agreed=7, doubted=1, taken_for=name, taken_for_n=1) for name in NAMES]
    about = dict(name=NAMES[0], what=NAMES[4], found="\n".join(NAMES), images=12, classes=10, doubted=3, judged=12,
                 agreement=.9, per_class=per_class, method=NAMES[0], thresholds="\n".join(NAMES))
    def copy_of(name): return dict(name=name, label=name, detail=name, other=name, other_label=f"{name}2")
    problems = pd.DataFrame([copy_of(name) | dict(problem="near copy") for name in NAMES])
    return audit_page(about, ranking, problems, paths)

def test_names_are_text_in_the_page(page):
    tags = Tags(page)
    assert [tag for tag, _ in tags.found].count("script") == 1
    assert not [name for _, attributes in tags.found for name in attributes if name.startswith("on")]
    links = [attributes["href"] for tag, attributes in tags.found if tag == "a"]
    assert links and all(link.startswith("file:///") for link in links)
    sources = [attributes["src"] for tag, attributes in tags.found if tag == "img"]
    assert {source.partition(",")[0] for source in sources} == {"data:image/jpeg;base64"}
    text = "".join(tags.text)
    assert all(name in text for name in NAMES) and "49" not in text

@pytest.mark.skipif(not CHROMIUM, reason="needs Chromium")
def test_a_browser_runs_the_page_s_script_alone(page, tmp_path):
    "Even where a template would forget to escape: the rule in its head names the script by its hash"
    for name, content in (("escaped", page), ("forgotten", page.replace("<main>", f"<main>{NAMES[0]}{NAMES[4]}", 1))):
        (tmp_path/f"{name}.html").write_text(content, encoding="utf-8")
        words = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path/'browser'}",
                 "--virtual-time-budget=2000", "--dump-dom", (tmp_path/f"{name}.html").as_uri()]
        dom = subprocess.run(words, capture_output=True, text=True, timeout=120).stdout
        assert "<title>ran</title>" not in dom and "<title>Label audit" in dom
        assert f"{len(NAMES)} shown" in dom # the page's own script

def test_names_are_text_in_a_table():
    html = pd.DataFrame({NAMES[0]: NAMES})._repr_html_()
    assert "<script>" not in html and "<img" not in html

# ---- Jupyter

NOTEBOOK = ROOT/"nbs/explore.ipynb"

def test_lab_is_for_this_machine():
    words = lab_words(NOTEBOOK)
    assert "--ServerApp.ip=localhost" in words and words[0] == sys.executable
    for part in ("token", "password", "0.0.0.0", "allow_remote"): assert not [word for word in words if part in word]
    makefile = subprocess.run(["make", "-n", "lab", "VENV=there"], cwd=ROOT, env=ENV, capture_output=True, text=True)
    assert "'there/bin/noisykit' explore" in makefile.stdout

def places(root, configuration):
    "An environment with a Jupyter configuration of its own"
    (root/"config").mkdir()
    (root/"config/jupyter_server_config.py").write_text(configuration)
    own = {f"JUPYTER_{name}_DIR": str(root/name.lower()) for name in ("CONFIG", "RUNTIME", "DATA")}
    return {**ENV, **own, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{ENV['PATH']}"}

def test_an_audit_opens_on_its_suspects(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path/"audit-mine").mkdir()
    (tmp_path/"audit-mine/suspects.csv").touch()
    monkeypatch.setattr("noisykit.command.check_token", lambda: None)
    opened = []
    monkeypatch.setattr("os.execv", lambda program, words: opened.append(words))
    with pytest.raises(SystemExit): main(["explore", "audit-mine"])
    notebook = tmp_path/"explore-audit-mine.ipynb"
    assert opened[0] == lab_words(notebook)
    last = json.loads(notebook.read_text())["cells"][-1]["source"]
    assert f"explore_suspects({str(tmp_path/'audit-mine')!r})" in last

def test_an_empty_token_is_refused(tmp_path):
    env = places(tmp_path, "c.IdentityProvider.token = ''\n")
    words = [sys.executable, "-m", "noisykit.command", "explore"]
    done = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 1 and re.fullmatch("your .* has an empty token, .*\n", done.stderr)

def test_a_real_jupyterlab_has_its_token_on_this_machine_alone(tmp_path):
    "Although the user's own configuration says that it should listen everywhere"
    env = places(tmp_path, "c.ServerApp.ip = '0.0.0.0'\n")
    words = [*lab_words(NOTEBOOK), "--no-browser", "--port=0", "--LabApp.extension_manager=readonly"]
    with open(tmp_path/"log", "w") as log: server = subprocess.Popen(words, cwd=ROOT, env=env, stdout=log, stderr=log)
    try:
        def says(): return "?token=" in (tmp_path/"log").read_text()
        until(lambda: says() and list((tmp_path/"runtime").glob("jpserver-*.json")), server, "address in its log")
        file, = (tmp_path/"runtime").glob("jpserver-*.json")
        about = json.loads(file.read_text())
    finally:
        server.terminate()
        server.wait(PATIENCE)
    urls = re.findall(r"https?://\S+", (tmp_path/"log").read_text())
    printed = [url for url in urls if "token=" in url]
    assert len(about["token"]) == 48 and about["hostname"] == "localhost"
    address = rf"http://(localhost|127\.0\.0\.1):\d+/\S*token={about['token']}"
    assert printed and all(re.match(address, url) for url in printed)
