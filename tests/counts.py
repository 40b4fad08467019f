"""How long and how tangled the code is, in numbers; neither torch nor the package is imported.

    python tests/counts.py [checkout] [module ...]    this checkout, and noisykit/run.py, unless others are named
"""
import ast, json, re, statistics, sys
from pathlib import Path

COMPREHENSIONS = ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp

def modules(root):
    "Exported modules; nbdev's index is none"
    return [p for p in sorted((root/"noisykit").rglob("*.py")) if p.name != "_modidx.py"]

def source_lines(path): return [l for l in path.read_text(encoding="utf-8").splitlines() if l.strip()]

def code_cells(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]

def exported(notebooks):
    "(lines, notebook, first line) of every exported cell, directives and blank lines left out"
    for p in notebooks:
        for cell in code_cells(p):
            if not re.match(r"(\s*#\|.*\n)*\s*#\|\s*exports?\b", cell): continue
            lines = [l for l in cell.splitlines() if l.strip() and not l.startswith("#|")]
            if lines: yield len(lines), p.name, lines[0]

def module_name(node, path, root):
    "The module that `from x import` names, in dots"
    if not node.level: return node.module or ""
    package = list(path.relative_to(root).with_suffix("").parts[:-node.level])
    return ".".join(package + ([node.module] if node.module else []))

def underscores(tree, path, root):
    "(imports with private names of another module, all private names that are imported or reached as Imported._name)"
    imports = [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
    imports = [n for n in imports if module_name(n, path, root).split(".")[0] == "noisykit"]
    names = [a.name for n in imports for a in n.names]
    own = {a.asname or a.name for n in imports for a in n.names}
    attributes = [n for n in ast.walk(tree) if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name)]
    reached = [n.attr for n in attributes if n.value.id in own]
    statements = sum(any(is_private(a.name) for a in n.names) for n in imports)
    return statements, sorted(filter(is_private, {*names, *reached}))

def is_private(name): return name.startswith("_") and not name.startswith("__")

def bound(tree):
    "Every name that is given a value: assignments, loops, parameters, `as`"
    names = [n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
    return names + [n.arg for n in ast.walk(tree) if isinstance(n, ast.arg)]

def tangled(tree):
    "Comprehensions with several `for`, and those with another one inside"
    found = [n for n in ast.walk(tree) if isinstance(n, COMPREHENSIONS)]
    inside = sum(any(isinstance(m, COMPREHENSIONS) for m in ast.walk(n) if m is not n) for n in found)
    return len(found), sum(len(n.generators) > 1 for n in found), inside

def definitions(body, prefix=""):
    "Public functions, classes and methods: (name, node)"
    for n in body:
        if not isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) or n.name.startswith("_"): continue
        yield prefix + n.name, n
        if isinstance(n, ast.ClassDef): yield from definitions(n.body, f"{prefix}{n.name}.")

def files_with(word, root):
    "Code that contains a word: modules, and code cells of notebooks"
    files = [p for p in sorted((root/"noisykit").rglob("*")) if p.suffix in (".py", ".yaml", ".yml")]
    found = [p for p in files if word in p.read_text(encoding="utf-8")]
    found += [p for p in sorted((root/"nbs").rglob("*.ipynb")) if any(word in c for c in code_cells(p))]
    return [p.relative_to(root).as_posix() for p in found]

def main(root, named):
    paths, notebooks = modules(root), sorted((root/"nbs").rglob("*.ipynb"))
    notebooks = [p for p in notebooks if ".ipynb_checkpoints" not in p.parts]
    trees = {p: ast.parse(p.read_text(encoding="utf-8")) for p in paths}
    for m in named: print(f"{m}: {len((root/m).read_text(encoding='utf-8').splitlines())} lines")
    lengths = [len(l) for p in paths for l in source_lines(p)]
    for limit in (120, 160):
        over = sum(l > limit for l in lengths)
        print(f"exported lines over {limit}: {over} of {len(lengths)} ({over/len(lengths):.1%})")
    print(f"longest exported line: {max(lengths)}; {len(paths)} modules")
    cells = list(exported(notebooks))
    sizes, largest = [c[0] for c in cells], max(cells)
    small, large = sum(s <= 8 for s in sizes), sum(s > 60 for s in sizes)
    print(f"exported cells: {len(cells)}; median {statistics.median(sizes):g} lines, "
          f"up to 8: {small/len(cells):.0%}, over 60: {large}, largest {largest[0]} ({largest[1]}: {largest[2][:30]})")
    print(f"notebooks: {len(notebooks)}")
    private = {p: found for p, tree in trees.items() if (found := underscores(tree, p, root))[1]}
    statements = sum(n for n, _ in private.values())
    print(f"modules that take private names from others: {len(private)}, by {statements} imports")
    for p, (_, found) in private.items(): print(f"    {p.relative_to(root)}: {', '.join(found)}")
    clip = files_with("grad_clip", root)
    print(f"files with grad_clip: {len(clip)}", *clip, sep="\n    ")
    total, several, nested = map(sum, zip(*map(tangled, trees.values())))
    print(f"comprehensions: {total}; with several for: {several}, with another inside: {nested}")
    names = [n for tree in trees.values() for n in bound(tree)]
    short = sum(len(k) == 1 and k != "_" for k in names)
    print(f"bindings of one letter: {short} of {len(names)} ({short/len(names):.0%})")
    public = [(p, name, n) for p, tree in trees.items() for name, n in definitions(tree.body)]
    bare = [n for _, _, n in public if not ast.get_docstring(n)]
    top = sum("." not in name for _, name, n in public if n in bare)
    print(f"public definitions without docstring: {len(bare)} of {len(public)}; {top} of them at the top of a module")

if __name__ == "__main__":
    given = sys.argv[1:]
    root = Path(given.pop(0)) if given and Path(given[0]).is_dir() else Path(__file__).resolve().parents[1]
    main(root.resolve(), given or [m for m in ["noisykit/run.py"] if (root/m).is_file()])
