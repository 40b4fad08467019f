"""What nbdev's pages need before Quarto takes them: no link in code, no link in a link, no automatic link that a reader
would not follow, and words for each picture.

`python tests/tools/pages.py`, between nbdev_proc_nbs and nbdev_docs, changes _proc/
"""
import json, re
from pathlib import Path

import yaml
from check_docs import NOTEBOOKS, parameters, tagged, words_for
from check_tree import load, text
from stills import stored

ROOT = Path(__file__).resolve().parents[2]
SITE = yaml.safe_load((ROOT / "_quarto.yml").read_text(encoding="utf-8"))["website"]["site-url"]
AUTOMATIC = rf"\[(`[^`\n]+`)\]\({re.escape(SITE)}[^)\n]*\)" # nbdev makes it of a name in backticks

def unlinked(md):
    "Markdown without links in fenced code"
    return re.sub(r"^```.*?^```", lambda m: re.sub(r"\[(`[^`\n]+`)\]\([^)\n]*\)", r"\1", m[0]), md, flags=re.M | re.S)

def settings():
    "Names of parameters, which some function or module has too"
    run = [file for file in NOTEBOOKS if tagged(load(file)["cells"])]
    return {name for file in run for name in parameters(file)}

def led_astray(md, names):
    "Markdown without the automatic links of settings and plain words (`noise_rate`, `text`), and of names in a link"
    def kept(link): return link[0] if link[1].strip("`") not in names and re.search(r"[A-Z_.()]", link[1]) else link[1]
    md = re.sub(rf"\[([^][\n]*){AUTOMATIC}([^][\n]*)\]\(", r"[\1\2\3](", md)
    return re.sub(AUTOMATIC, kept, md)

def described(cells):
    "Each picture's cell is given the words for it"
    for i, cell in enumerate(cells):
        if cell["cell_type"] != "code" or "fig-alt" in text(cell): continue
        if not stored({"cells": [cell]}, "image/png"): continue
        cell["source"] = f"#| fig-alt: {json.dumps(words_for(cells, i), ensure_ascii=False)}\n{text(cell)}"

def finished(nb, names):
    "The page, ready for Quarto"
    for output in stored(nb, "text/markdown"):
        md = "".join(output["data"]["text/markdown"])
        output["data"]["text/markdown"] = led_astray(unlinked(md), names)
    for cell in nb["cells"]:
        if cell["cell_type"] == "markdown": cell["source"] = led_astray(text(cell), names)
    described(nb["cells"])
    return nb

if __name__ == "__main__":
    names = settings()
    for path in (ROOT / "_proc").rglob("*.ipynb"):
        nb = finished(json.loads(path.read_text(encoding="utf-8")), names)
        path.write_text(json.dumps(nb, ensure_ascii=False), encoding="utf-8")
