"""How long and how tangled the code is, in numbers; neither torch nor the package is imported.

    python tests/tools/counts.py                        the numbers; exit status 1 where they are above LIMITS
    python tests/tools/counts.py /a/checkout            the numbers of another checkout
    python tests/tools/counts.py list letters nbs/data  where they come from, in all notebooks or under one folder
"""
import ast, json, re, statistics, sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WIDTH, LONG, SHORT = 120, 60, 8 # characters of a line, lines of an exported cell
LIMITS = {"lines over 120": 0, "first lines of modules over 120": 0,
          "exported cells over 60 lines": 0, "median lines of an exported cell": 9,
          "tangled comprehensions": 0, "one-letter names outside formulas": 0,
          "public definitions without docstring": 0}
# Letters that stand in formulas and in shapes, and counters of loops. Others are words that somebody cut short.
FORMULAS = set("ijkn" "xyzpqwgvt" "NCKTBDEHWSUM" "_")
COMPREHENSIONS = ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp

class Cell:
    "A code cell: where it is, its lines without directives and blank ones, its syntax tree, whether it is exported"
    def __init__(self, notebook, cell):
        self.where, source = f"{notebook} [{cell.get('id')}]", "".join(cell["source"])
        self.source = re.sub(r"^(\s*%|!).*$", "pass", source, flags=re.M) # what only IPython understands
        self.lines = [l for l in source.splitlines() if l.strip() and not l.startswith("#|")]
        self.exported = bool(re.match(r"(\s*#\|.*\n)*\s*#\|\s*exports?\b", source))
        try: self.tree = ast.parse(self.source)
        except SyntaxError: self.tree = ast.Module([], [])

def notebooks(root):
    found = sorted((root/"nbs").rglob("*.ipynb"))
    return [p for p in found if not any(part[0] in "._" for part in p.relative_to(root).parts)]

def code_cells(root):
    found = []
    for path in notebooks(root):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        found += [Cell(path.relative_to(root).as_posix(), c) for c in cells if c["cell_type"] == "code"]
    return [c for c in found if c.lines]

def long_lines(cell):
    return [line.strip()[:80] for line in cell.lines if len(line) > WIDTH]

def tangled(cell):
    "Comprehensions with several `for`, and those with another one inside"
    found = [n for n in ast.walk(cell.tree) if isinstance(n, COMPREHENSIONS)]
    def inside(n): return any(isinstance(m, COMPREHENSIONS) for m in ast.walk(n) if m is not n)
    return [ast.unparse(n)[:80] for n in found if len(n.generators) > 1 or inside(n)]

def brief(cell):
    "Names that live for one expression: of comprehensions and lambdas"
    places = [g.target for n in ast.walk(cell.tree) if isinstance(n, COMPREHENSIONS) for g in n.generators]
    places += [n.args for n in ast.walk(cell.tree) if isinstance(n, ast.Lambda)]
    return {id(m) for place in places for m in ast.walk(place)}

def letters(cell):
    "One-letter names that last longer than an expression and stand in no formula"
    passing, found = brief(cell), []
    for n in ast.walk(cell.tree):
        if id(n) in passing: continue
        if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store): found.append(n.id)
        if isinstance(n, ast.arg): found.append(n.arg)
    return [name for name in found if len(name) == 1 and name not in FORMULAS]

def definitions(body, prefix=""):
    "Public functions, classes and methods: (name, node)"
    for n in body:
        if not isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) or n.name.startswith("_"): continue
        yield prefix + n.name, n
        if isinstance(n, ast.ClassDef): yield from definitions(n.body, f"{prefix}{n.name}.")

def bare(cell):
    "Public definitions without a docstring"
    return [name for name, n in definitions(cell.tree.body) if not ast.get_docstring(n)]

def too_long(cell):
    return [f"{len(cell.lines)} lines"] if len(cell.lines) > LONG else []

KINDS = dict(over=long_lines, tangled=tangled, letters=letters, bare=bare, long=too_long,
             cells=lambda cell: [f"{len(cell.lines)} lines"] if len(cell.lines) > SHORT else [])

def long_first_lines(root):
    "Modules whose first line, the `>` line of their page, is too long; other lines come from cells, or from nbdev"
    modules = [p for p in sorted((root/"noisykit").rglob("*.py")) if p.name != "_modidx.py"]
    return [p.name for p in modules if len(p.read_text(encoding="utf-8").partition("\n")[0]) > WIDTH]

def numbers(root):
    "name -> number, of the exported cells; lines over 120 of all code cells"
    every = code_cells(root)
    cells = [c for c in every if c.exported]
    sizes = [len(c.lines) for c in cells]
    def total(find, cells=cells): return sum(len(find(c)) for c in cells)
    public = sum(len(list(definitions(c.tree.body))) for c in cells)
    return {"notebooks": len(notebooks(root)), "exported cells": len(cells), "exported lines": sum(sizes),
            "lines over 120": total(long_lines, every), "of them exported": total(long_lines),
            "first lines of modules over 120": len(long_first_lines(root)),
            "exported cells over 60 lines": total(too_long), "largest exported cell, lines": max(sizes),
            "median lines of an exported cell": statistics.median(sizes),
            "exported cells of at most 8 lines, %": round(100*sum(s <= SHORT for s in sizes)/len(sizes)),
            "tangled comprehensions": total(tangled), "one-letter names outside formulas": total(letters),
            "public definitions": public, "public definitions without docstring": total(bare)}

def main(words):
    if words[:1] == ["list"]:
        kind, *folders = words[1:] or [""]
        if kind not in KINDS: sys.exit(f"list what? one of {', '.join(KINDS)}")
        for cell in code_cells(ROOT):
            if folders and not cell.where.startswith(tuple(folders)) or not (cell.exported or kind == "over"): continue
            for found in KINDS[kind](cell): print(f"{cell.where}: {found}")
        return 0
    found = numbers(Path(words[0]).resolve() if words else ROOT)
    for name, number in found.items(): print(f"{number:7g}  {name}")
    over = [name for name, most in LIMITS.items() if found[name] > most]
    for name in over: print(f"FAIL counts: {name}: {found[name]:g}, at most {LIMITS[name]} is allowed")
    return 1 if over and not words else 0

if __name__ == "__main__": sys.exit(main(sys.argv[1:]))
