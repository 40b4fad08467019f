"""JupyterLab in a real browser: every explorer is run, its controls are moved, and its picture changes."""
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager

import pandas as pd
import pytest

from conftest import CHROMIUM, ENV, ROOT, papermill
from held import PATIENCE
from noisykit.run import run_method

SETTINGS = {"notebook-extension/tracker": {"windowingMode": "none"}, # all cells are in the page
            "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False}}
READY = """async () => {
    const notebook = window.jupyterapp.shell.currentWidget, session = notebook.context.sessionContext;
    await notebook.context.ready; await session.ready;
    while (session.session?.kernel?.status != 'idle') await new Promise(r => setTimeout(r, 100));
    await new Promise(r => setTimeout(r, 500));
    window.jupyterapp.commands.execute('notebook:run-all-cells'); // not awaited: it waits for the kernel
    return 1;
}"""
WAIT = dict(timeout=PATIENCE*1000) # for what is certain to come

class Lab:
    "A notebook in JupyterLab, all its cells run"
    def __init__(self, page, root): self.page, self.root, self.said = page, root, []

    def cell(self, call):
        "The explorer that a cell calls"
        cell = self.page.locator(".jp-CodeCell").filter(has_text=call).last
        cell.locator("img[alt]").first.wait_for(**WAIT)
        cell.scroll_into_view_if_needed()
        return cell

    def control(self, cell, name, kind):
        boxes = cell.locator(".widget-inline-hbox, .widget-checkbox")
        return boxes.filter(has=self.page.get_by_text(name, exact=True)).locator(kind).first

    def changes(self, cell, act):
        "Seconds until the picture is another one"
        img = cell.locator("img[alt]").first
        before, start = img.get_attribute("src"), time.perf_counter()
        act()
        other = "([img, src]) => img.src != src && img.complete"
        self.page.wait_for_function(other, arg=[img.element_handle(), before], polling=10, **WAIT)
        return time.perf_counter() - start

    def arrow(self, cell, name, key="ArrowRight"):
        handle = self.control(cell, name, ".noUi-handle")
        return self.changes(cell, lambda: handle.press(key))

    def choose(self, cell, name, label):
        return self.changes(cell, lambda: self.control(cell, name, "select").select_option(label))

    def write(self, cell, name, value):
        box = self.control(cell, name, "input")
        def act():
            box.fill(str(value))
            box.press("Enter")
        return self.changes(cell, act)

    def tick(self, cell, name): return self.changes(cell, lambda: self.control(cell, name, "input").click())

    def press(self, cell, name):
        button = cell.get_by_role("button", name=name, exact=True)
        return self.changes(cell, lambda: button.click())

    def click(self, cell, x, y):
        "On the picture, at fractions of it from the upper left corner"
        img = cell.locator("img[alt]").first
        box = img.bounding_box()
        return self.changes(cell, lambda: img.click(position=dict(x=x*box["width"], y=y*box["height"])))

    def shot(self, cell, name): cell.screenshot(path=self.root/f"{name}.png")

def told(record_property, **seconds):
    "Kept with the test's result, and printed: a machine that is busy is no failure"
    for name, value in seconds.items(): record_property(name, round(value, 3))
    print({name: round(value, 2) for name, value in seconds.items()})

def make_project(folder):
    "nbs/explore.ipynb in a project of its own, with two runs on mnist5k"
    for method in ("ce", "l2r"):
        run_method(method=method, dataset="mnist5k", data_options=dict(train_size=1000), noise="symmetric",
                   noise_rate=.4, epochs=3, device="cpu", run_dir=folder/"runs"/method, quiet=True)
    shutil.copy(ROOT/"settings.ini", folder)
    (folder/"nbs").mkdir()
    shutil.copy(ROOT/"nbs/explore.ipynb", folder/"nbs")

def make_settings(folder):
    for name, value in SETTINGS.items():
        file = folder/"@jupyterlab"/f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(value))

def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]

def answers(server, address):
    "Whether the server is up; False if it ended"
    end = time.time() + PATIENCE
    while server.poll() is None:
        assert time.time() < end, f"no answer from {address}"
        try: return bool(urllib.request.urlopen(f"{address}/api/status?token=test", timeout=10))
        except OSError: time.sleep(.2)
    return False

@contextmanager
def jupyter(root):
    "The address of a JupyterLab whose folder is root/project; another port where somebody was faster to take the first"
    places = dict(CONFIG="config", RUNTIME="runtime", LAB_SETTINGS="settings", LAB_WORKSPACES="workspaces")
    own = {f"JUPYTER{'' if k.startswith('LAB') else '_'}{k}_DIR": str(root/v) for k, v in places.items()}
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    words = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", "--ip=127.0.0.1",
             "--ServerApp.port_retries=0", "--IdentityProvider.token=test", f"--ServerApp.root_dir={root/'project'}",
             "--LabApp.expose_app_in_browser=True", "--LabApp.extension_manager=readonly"]
    for _ in range(5):
        port = free_port()
        with open(root/"lab.log", "a") as log:
            server = subprocess.Popen([*words, f"--port={port}"], env={**ENV, **own, "PYTHONPATH": path}, stdout=log,
                                      stderr=log)
        try:
            if not answers(server, f"http://127.0.0.1:{port}"): continue
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(PATIENCE)
        return
    raise RuntimeError((root/"lab.log").read_text()[-3000:])

@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    if CHROMIUM is None: pytest.skip("no browser here")
    api, root = pytest.importorskip("playwright.sync_api"), tmp_path_factory.mktemp("lab")
    (root/"project").mkdir()
    make_project(root/"project")
    make_settings(root/"settings")
    with jupyter(root) as address, api.sync_playwright() as p:
        switches = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = p.chromium.launch(executable_path=CHROMIUM, args=switches, **WAIT)
        page = browser.new_page(viewport=dict(width=1500, height=1000))
        page.set_default_timeout(PATIENCE*1000)
        lab = Lab(page, root/"project")
        page.on("console", lambda message: lab.said.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: lab.said.append(str(error)))
        page.goto(f"{address}/lab/tree/nbs/explore.ipynb?token=test&reset")
        page.wait_for_selector(".jp-Notebook .jp-Cell")
        page.evaluate(READY)
        lab.cell("explore_suspects(") # the last one: from here on the kernel waits for us
        yield lab
        browser.close()

def test_one_run(l2r_run, tmp_path):
    "As after `make run`: there is nothing to compare with yet, and all cells run"
    out = tmp_path/"out.ipynb"
    done = papermill("explore", out, f"{{runs: ['{l2r_run[1]}']}}", cold=True, dataset="digits")
    assert done.returncode == 0, done.stderr
    assert out.read_text().count('"image/png"') == 5
    done = papermill("explore", tmp_path/"none.ipynb", "{runs: [nowhere]}")
    assert done.returncode and "nowhere holds no run" in done.stderr

def test_noise(lab, record_property):
    cell = lab.cell("explore_noise(")
    told(record_property, law=lab.choose(cell, "noise law", "asymmetric"), rate=lab.arrow(cell, "rate"),
         seed=lab.write(cell, "seed", 7))
    assert cell.locator("img[alt]").first.get_attribute("alt") == "noise law: asymmetric, rate: 0.45, seed: 7"
    lab.shot(cell, "noise")

def test_metastep(lab, record_property):
    cell = lab.cell("explore_metastep(")
    told(record_property, probe_size=lab.choose(cell, "size of the probe", "5"),
         probe=lab.choose(cell, "classes of the probe", "3"), batch=lab.arrow(cell, "batch"),
         lr=lab.choose(cell, "step size", "0.2"), weighting=lab.choose(cell, "weighting", "shift"),
         level=lab.choose(cell, "layers that move", "last"),
         engine=lab.choose(cell, "engine", "higher"))
    lab.shot(cell, "metastep")

def test_run(lab, record_property):
    cell = lab.cell("explore_run(")
    img = cell.locator("img[alt]").first
    told(record_property, epoch=lab.arrow(cell, "epoch", "ArrowLeft"),
         value=lab.choose(cell, "shown", "probability of the given label"), log=lab.tick(cell, "log scale"))
    assert "epoch: final" not in img.get_attribute("alt") and "log scale: True" in img.get_attribute("alt")
    told(record_property, histogram=lab.click(cell, .1, .2))        # upper left: a bar, and its images
    assert "a bin of: the value" in img.get_attribute("alt")
    lab.shot(cell, "run_histogram")
    told(record_property, dissection=lab.click(cell, .6, .2))      # upper right: a bin
    assert "a bin of: the loss" in img.get_attribute("alt")
    lab.shot(cell, "run_dissection")

def test_compare(lab, record_property):
    cell = lab.cell("compare_runs(")
    told(record_property, epoch=lab.arrow(cell, "epoch", "ArrowLeft"),
         value=lab.choose(cell, "shown", "margin of the given label, in logits"))
    lab.shot(cell, "compare")

def test_suspects(lab, record_property):
    cell = lab.cell("explore_suspects(")
    told(record_property, accept=lab.press(cell, "accept"), remove=lab.press(cell, "remove"),
         click=lab.click(cell, .9, .9), rest=lab.press(cell, "reject the rest of the page"))
    lab.shot(cell, "suspects")
    file, = lab.root.glob("runs/*/decisions.csv")
    decisions = pd.read_csv(file)
    assert decisions.decision.value_counts()[["accept", "remove"]].tolist() == [2, 1] and len(decisions) == 24

def test_console(lab):
    "Last: none of them left an error in the page's console"
    stderr = ".jp-Cell .jp-RenderedText[data-mime-type='application/vnd.jupyter.stderr']"
    assert lab.page.locator(stderr).all_inner_texts() == []
    assert lab.said == []
