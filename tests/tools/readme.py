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

def check_outputs(name, outputs):
    "ValueError where a README cannot show one of the outputs of a cell"
    for output in outputs:
        if output.output_type == "error": raise ValueError(f"cell {name} has an error output")
        if any(kind.startswith("image/") for kind in output.get("data", {})):
            raise ValueError(f"cell {name} has a figure output")

def readme(root=ROOT):
    "The text of README.md; ValueError where index.ipynb has something that a README cannot show"
    import nbformat
    from nbconvert.exporters import MarkdownExporter
    nb, cells = nbformat.read(root / "nbs" / "index.ipynb", as_version=4), []
    for cell in nb.cells:
        how = directives(cell.source) if cell.cell_type == "code" else {}
        if cell.cell_type == "raw" or "hide" in how or how.get("include") == "false": continue
        if cell.cell_type == "markdown": cell.source = relink(cell.source)
        if cell.cell_type == "code":
            outputs = [] if how.get("output") == "false" else cell.outputs
            check_outputs(cell.id, outputs)
            code = re.sub(r"^#\s*\|.*\n?", "", cell.source, flags=re.M).strip()
            source = "" if how.get("echo") == "false" else code
            if not source and not outputs: continue
            cell.source, cell.outputs = source, outputs
            cell.metadata = {} if source else {"transient": {"remove_source": True}}
        cells.append(cell)
    nb.cells, nb.metadata = cells, {"language_info": {"name": "python"}}
    exporter = MarkdownExporter(config={"NbConvertBase": {"display_data_priority": ["text/markdown", "text/plain"]}})
    text = exporter.from_notebook_node(nb)[0]
    return "\n".join(line.rstrip() for line in re.sub(r"\n{3,}", "\n\n", text).strip().split("\n")) + "\n"

if __name__ == "__main__": (ROOT / "README.md").write_text(readme(), encoding="utf-8")
