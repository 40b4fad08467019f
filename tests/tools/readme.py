"Write README.md from nbs/index.ipynb, without Quarto: python tests/tools/readme.py"
import posixpath, re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

def directives(source):
    "The nbdev and Quarto lines (`#| name: value`) of a code cell, as a dict"
    return {name: value.lower() for name, value in re.findall(r"^#\s*\|\s*(\w+)[: \t]*(.*?)\s*$", source, re.M)}

def relink(source):
    "Links in index.ipynb are relative to nbs/, README.md is one level up; fenced code stays"
    def link(m): return f"]({posixpath.normpath('nbs/' + m[1])}"
    parts = re.split(r"(^```.*?^```|`[^`\n]+`)", source, flags=re.M | re.S)
    relative = r"\]\((?![a-zA-Z][\w+.-]*:|[#/<])([^)#\s]+)"
    return "".join(p if i % 2 else re.sub(relative, link, p) for i, p in enumerate(parts))

def readme(root=ROOT):
    "The text of README.md; ValueError where index.ipynb has something that a README cannot show"
    import nbformat
    from nbconvert.exporters import MarkdownExporter
    nb, cells = nbformat.read(root / "nbs" / "index.ipynb", as_version=4), []
    for c in nb.cells:
        d = directives(c.source) if c.cell_type == "code" else {}
        if c.cell_type == "raw" or "hide" in d or d.get("include") == "false": continue
        if c.cell_type == "markdown": c.source = relink(c.source)
        if c.cell_type == "code":
            outputs = [] if d.get("output") == "false" else c.outputs
            if any(o.output_type == "error" for o in outputs): raise ValueError(f"cell {c.id} has an error output")
            if any(k.startswith("image/") for o in outputs for k in o.get("data", {})):
                raise ValueError(f"cell {c.id} has a figure output")
            source = "" if d.get("echo") == "false" else re.sub(r"^#\s*\|.*\n?", "", c.source, flags=re.M).strip()
            if not source and not outputs: continue
            c.source, c.outputs, c.metadata = source, outputs, {} if source else {"transient": {"remove_source": True}}
        cells.append(c)
    nb.cells, nb.metadata = cells, {"language_info": {"name": "python"}}
    exporter = MarkdownExporter(config={"NbConvertBase": {"display_data_priority": ["text/markdown", "text/plain"]}})
    text = exporter.from_notebook_node(nb)[0]
    return "\n".join(line.rstrip() for line in re.sub(r"\n{3,}", "\n\n", text).strip().split("\n")) + "\n"

if __name__ == "__main__": (ROOT / "README.md").write_text(readme(), encoding="utf-8")
