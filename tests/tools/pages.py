"""nbdev also puts links into the code of its descriptions, where they are shown as text.

`python tests/tools/pages.py`, between nbdev_proc_nbs and nbdev_docs, takes them out of _proc/
"""
import json, re
from pathlib import Path

from stills import stored

ROOT = Path(__file__).resolve().parents[2]

def unlinked(md):
    "Markdown without links in fenced code"
    return re.sub(r"^```.*?^```", lambda m: re.sub(r"\[(`[^`\n]+`)\]\([^)\n]*\)", r"\1", m[0]), md, flags=re.M | re.S)

if __name__ == "__main__":
    for path in (ROOT / "_proc").rglob("*.ipynb"):
        nb = json.loads(path.read_text(encoding="utf-8"))
        for output in stored(nb, "text/markdown"):
            output["data"]["text/markdown"] = unlinked("".join(output["data"]["text/markdown"]))
        path.write_text(json.dumps(nb, ensure_ascii=False), encoding="utf-8")
