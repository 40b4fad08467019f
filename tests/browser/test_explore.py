"""JupyterLab in a real browser: every explorer is run, its controls are moved, and its picture changes."""
import json, os, shutil, socket, subprocess, sys, time, urllib.request

import pandas as pd
import pytest
from conftest import CHROMIUM, ENV, ROOT, papermill

from noisykit.run import run_method

SETTINGS = {"notebook-extension/tracker": {"windowingMode": "none"}, # all cells are in the page
            "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False}}
READY = """async () => {
    const notebook = window.jupyterapp.shell.currentWidget, session = notebook.context.sessionContext;
    await notebook.context.ready; await session.ready;
    for (let i = 0; i < 300 && session.session?.kernel?.status != 'idle'; i++) await new Promise(r => setTimeout(r, 100));
    await new Promise(r => setTimeout(r, 500));
    window.jupyterapp.commands.execute('notebook:run-all-cells'); // not awaited: it waits for the kernel
    return 1;
}"""

class Lab:
    "A notebook in JupyterLab, all its cells run"
    def __init__(self, page, root): self.page, self.root, self.said = page, root, []

    def cell(self, call):
        "The explorer that a cell calls"
        cell = self.page.locator(".jp-CodeCell").filter(has_text=call).last
        cell.locator("img[alt]").first.wait_for(timeout=120_000)
        cell.scroll_into_view_if_needed()
        return cell

    def control(self, cell, name, kind): return cell.locator(".widget-inline-hbox, .widget-checkbox").filter(has=self.page.get_by_text(name, exact=True)).locator(kind).first

    def changes(self, cell, act):
        "Seconds until the picture is another one"
        img = cell.locator("img[alt]").first
        before, start = img.get_attribute("src"), time.perf_counter()
        act()
        self.page.wait_for_function("([img, src]) => img.src != src && img.complete", arg=[img.element_handle(), before], timeout=60_000, polling=10)
        return time.perf_counter() - start

    def arrow(self, cell, name, key="ArrowRight"):
        handle = self.control(cell, name, ".noUi-handle")
        return self.changes(cell, lambda: handle.press(key))
    def choose(self, cell, name, label): return self.changes(cell, lambda: self.control(cell, name, "select").select_option(label))
    def write(self, cell, name, value):
        box = self.control(cell, name, "input")
        def act(): box.fill(str(value)); box.press("Enter")
        return self.changes(cell, act)
    def tick(self, cell, name): return self.changes(cell, lambda: self.control(cell, name, "input").click())
    def click(self, cell, x, y):
        "On the picture, at fractions of it from the upper left corner"
        img = cell.locator("img[alt]").first
        box = img.bounding_box()
        return self.changes(cell, lambda: img.click(position=dict(x=x*box["width"], y=y*box["height"])))

    def shot(self, cell, name): cell.screenshot(path=self.root/f"{name}.png")

def told(record_property, **seconds):
    "Kept with the test's result, and printed: a machine that is busy is no failure"
    for k, s in seconds.items(): record_property(k, round(s, 3))
    print({k: round(s, 2) for k, s in seconds.items()})

@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    "nbs/explore.ipynb in a project of its own, with two runs on mnist5k"
    if CHROMIUM is None: pytest.skip("no browser here")
    api, root = pytest.importorskip("playwright.sync_api"), tmp_path_factory.mktemp("lab")
    for method in ("ce", "l2r"):
        run_method(method=method, dataset="mnist5k", noise="symmetric", noise_rate=.4, epochs=4, device="cpu", run_dir=root/"project/runs"/method, quiet=True)
    shutil.copy(ROOT/"settings.ini", root/"project")
    (root/"project/nbs").mkdir()
    shutil.copy(ROOT/"nbs/explore.ipynb", root/"project/nbs")
    for name, value in SETTINGS.items():
        file = root/"settings/@jupyterlab"/f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(value))
    with socket.socket() as s: s.bind(("127.0.0.1", 0)); port = s.getsockname()[1]
    own = {f"JUPYTER{k}_DIR": str(root/v) for k, v in (("_CONFIG", "config"), ("_RUNTIME", "runtime"), ("LAB_SETTINGS", "settings"), ("LAB_WORKSPACES", "workspaces"))}
    server = subprocess.Popen([sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0", "--IdentityProvider.token=test",
                               f"--ServerApp.root_dir={root/'project'}", "--LabApp.expose_app_in_browser=True", "--LabApp.extension_manager=readonly"],
                              env={**ENV, **own, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])}, stdout=open(root/"lab.log", "w"), stderr=subprocess.STDOUT)
    try:
        for _ in range(240):
            try: urllib.request.urlopen(f"http://127.0.0.1:{port}/api/status?token=test", timeout=2); break
            except OSError: time.sleep(.5)
        with api.sync_playwright() as p:
            browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"])
            page = browser.new_page(viewport=dict(width=1500, height=1000))
            lab = Lab(page, root/"project")
            page.on("console", lambda m: lab.said.append(m.text) if m.type == "error" else None)
            page.on("pageerror", lambda e: lab.said.append(str(e)))
            page.goto(f"http://127.0.0.1:{port}/lab/tree/nbs/explore.ipynb?token=test&reset")
            page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=120_000)
            page.evaluate(READY)
            lab.cell("explore_suspects(") # the last one: from here on the kernel waits for us
            yield lab
            browser.close()
    finally:
        server.terminate(); server.wait(30)

def test_one_run(l2r_run, tmp_path):
    "As after `make run`: there is nothing to compare with yet, and all cells run"
    _, run, _ = l2r_run
    p = papermill("explore", tmp_path/"out.ipynb", dataset="digits", yaml=f"{{runs: ['{run}']}}")
    assert p.returncode == 0, p.stderr
    assert (tmp_path/"out.ipynb").read_text().count('"image/png"') == 5
    p = papermill("explore", tmp_path/"none.ipynb", yaml="{runs: [nowhere]}")
    assert p.returncode and "nowhere holds no run" in p.stderr

def test_noise(lab, record_property):
    cell = lab.cell("explore_noise(")
    told(record_property, law=lab.choose(cell, "law", "asymmetric"), rate=lab.arrow(cell, "rate"), seed=lab.write(cell, "seed", 7))
    assert cell.locator("img[alt]").first.get_attribute("alt") == "law asymmetric, rate 0.45, seed 7"
    lab.shot(cell, "noise")

def test_metastep(lab, record_property):
    cell = lab.cell("explore_metastep(")
    told(record_property, probe_size=lab.choose(cell, "probe size", "5"), probe=lab.choose(cell, "probe", "3"), batch=lab.arrow(cell, "batch"), lr=lab.choose(cell, "lr", "0.2"),
         weighting=lab.choose(cell, "weighting", "shift"), level=lab.choose(cell, "level", "last"), engine=lab.choose(cell, "engine", "higher"))
    lab.shot(cell, "metastep")

def test_run(lab, record_property):
    cell = lab.cell("explore_run(")
    img = cell.locator("img[alt]").first
    told(record_property, epoch=lab.arrow(cell, "epoch", "ArrowLeft"), value=lab.choose(cell, "value", "given_prob"), log=lab.tick(cell, "log"))
    assert "epoch final" not in img.get_attribute("alt") and "log True" in img.get_attribute("alt")
    told(record_property, histogram=lab.click(cell, .1, .2))        # upper left: a bar, and its images
    assert "binning histogram" in img.get_attribute("alt")
    lab.shot(cell, "run_histogram")
    told(record_property, dissection=lab.click(cell, .6, .2))      # upper right: a bin
    assert "binning dissection" in img.get_attribute("alt")
    lab.shot(cell, "run_dissection")

def test_compare(lab, record_property):
    cell = lab.cell("compare_runs(")
    told(record_property, epoch=lab.arrow(cell, "epoch", "ArrowLeft"), value=lab.choose(cell, "value", "margin"))
    lab.shot(cell, "compare")

def test_suspects(lab, record_property):
    cell, press = lab.cell("explore_suspects("), lambda name: lambda: cell.get_by_role("button", name=name, exact=True).click()
    told(record_property, accept=lab.changes(cell, press("accept")), remove=lab.changes(cell, press("remove")), click=lab.click(cell, .9, .9), rest=lab.changes(cell, press("reject the rest of the page")))
    lab.shot(cell, "suspects")
    csv = pd.read_csv(next(lab.root.glob("runs/*/decisions.csv")))
    assert csv.decision.value_counts()[["accept", "remove"]].tolist() == [2, 1] and len(csv) == 24

def test_console(lab):
    "Last: none of them left an error in the page's console"
    assert lab.page.locator(".jp-Cell .jp-RenderedText[data-mime-type='application/vnd.jupyter.stderr']").all_inner_texts() == []
    assert lab.said == []
