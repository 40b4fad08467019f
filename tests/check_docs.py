"""Is the site in order? Its settings and sidebar, links and references, the pages as nbdev hands them to Quarto, where results come from. Neither torch nor Quarto is needed, nothing is written here.

    python tests/check_docs.py                 every check
    python tests/check_docs.py links pages     these only
"""
import ast, json, os, posixpath, re, shlex, shutil, subprocess, sys, tempfile
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

import yaml
from check_tree import CFG, FILES, LIB, NBS, NOTEBOOKS, ROOT, load, main, shown, text

SHOWN = [f for f in NOTEBOOKS if shown(f[len(NBS) + 1:])]
SOUND = {f: nb for f in SHOWN if not isinstance(nb := load(f), str)}  # check_tree names the others

def schema():
    "What _quarto.yml may hold: the part of Quarto's own settings that the site uses"
    item = {"anyOf": [{"type": "string"}, {"type": "object", "additionalProperties": False, "properties": {
        "section": {"type": "string"}, "href": {"type": "string"}, "text": {"type": "string"}, "auto": {"type": "string"},
        "contents": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"$ref": "#/$defs/item"}}]}}}]}
    text, yes = {"type": "string"}, {"type": "boolean"}
    def table(required, anything="", **properties):
        properties |= {name: {} for name in anything.split()}
        return {"type": "object", "additionalProperties": False, "required": required, "properties": properties}
    project = table(["type", "output-dir"], "resources preview",
                    **{"type": {"const": "website"}, "output-dir": {"const": CFG["doc_path"]}, "render": {"type": "array"}})
    html = table([], "theme code-fold code-copy code-overflow grid fig-width fig-height",
                 **{"css": text, "toc": yes, "toc-depth": {"type": "integer"}, "keep-md": yes})
    sidebar = table(["contents"], "id title search collapse-level",
                    style=text, contents={"type": "array", "items": {"$ref": "#/$defs/item"}})
    website = table(["title", "sidebar"], "description site-url repo-url repo-branch repo-subdir repo-actions open-graph "
                    "twitter-card favicon navbar page-footer", title=text, sidebar=sidebar)
    return {"$defs": {"item": item}} | table(
        ["project", "format", "website"], project=project, format=table(["html"], "commonmark", html=html),
        website=website, **{"execute": {"type": "object"}, "metadata-files": {"type": "array"}})

def rows_of(
    items, # the `contents` of a section: a pattern, or a list
    section="", # its name
):
    "Pairs (row, section) of the sidebar, in order; a row with a `*` stands for files"
    if isinstance(items, str): return [(items, section)]
    rows = []
    for item in items:
        if isinstance(item, str): rows.append((item, section)); continue
        rows += [(item[key], section) for key in ("href", "auto") if key in item]
        rows += rows_of(item.get("contents", []), item.get("section", section))
    return rows

def page_of(f):
    "The page that nbdev makes of a notebook, without .html: it takes a number off the name"
    path = PurePosixPath(f[len(NBS) + 1:])
    return str(path.with_name(re.sub(r"^\d+[a-zA-Z0-9]*_", "", path.stem.lower())))

def title_of(f):
    "The title of a notebook"
    return next((text(c).partition("\n")[0].lstrip("# ") for c in SOUND[f]["cells"] if c["cell_type"] == "markdown"), "")

def shared(
    pages, # notebooks
    of, # what no two of them may have in common
):
    "Triples (first, second, what both have)"
    found, doubles = {}, []
    for f in pages:
        if (name := of(f)) in found: doubles.append((found[name], f, name))
        found.setdefault(name, f)
    return doubles

def in_sidebar(contents):
    "What is wrong with the rows of the sidebar"
    have, listed, errs = [f[len(NBS) + 1:] for f in SHOWN], [], []
    for row, section in rows_of(contents):
        files = [f for f in have if PurePosixPath(f).match(row) and f.count("/") == row.count("/")] if "*" in row else [row]
        if not set(files) & set(have): errs.append(f"the sidebar of _quarto.yml lists {row}, which is not in {NBS}/")
        listed += [(f, section) for f in files if f in have]
    names = [f for f, _ in listed]
    errs += [f"{NBS}/{f} is not in the sidebar of _quarto.yml" for f in have if f not in names]
    errs += [f"the sidebar of _quarto.yml lists {f} twice" for f in sorted({f for f in names if names.count(f) > 1})]
    for folder in sorted({posixpath.dirname(f) for f in names} - {""}):
        rows = [(f, section) for f, section in listed if posixpath.dirname(f) == folder]
        sections = sorted({section for _, section in rows})
        if len(sections) > 1: errs.append(f"the sidebar of _quarto.yml has {folder}/ in several sections: {', '.join(sections)}")
        numbered = [f for f, _ in rows if posixpath.basename(f)[0].isdigit()]
        errs += [f"the sidebar of _quarto.yml lists {b} after {a}" for a, b in zip(numbered, numbered[1:]) if b < a]
    if names and names[0] != "index.ipynb": errs.append("the sidebar of _quarto.yml starts with index.ipynb")
    return errs

def check_site():
    "_quarto.yml is well formed, the sidebar has every notebook once and each folder in one place, no two pages share name or title"
    from jsonschema import Draft202012Validator
    try: q = yaml.safe_load((ROOT / "_quarto.yml").read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as e: return [f"_quarto.yml cannot be read: {' '.join(str(e).split())}"]
    errs = [f"_quarto.yml: {'/'.join(map(str, e.absolute_path)) or 'top'}: {e.message}"
            for e in Draft202012Validator(schema()).iter_errors(q)]
    if not errs:
        errs += in_sidebar(q["website"]["sidebar"]["contents"])
        css = q["format"]["html"].get("css")
        if css and f"{NBS}/{css}" not in FILES: errs.append(f"_quarto.yml names {css}, which is not in {NBS}/")
    errs += [f"{a} and {b} would be one page of the site, {page}.html: rename one" for a, b, page in shared(SHOWN, page_of)]
    errs += [f"{a} and {b} have the same title, {title!r}" for a, b, title in shared(SOUND, title_of)]
    link = ROOT / NBS / "_quarto.yml"
    if not link.is_symlink() or os.readlink(link) != "../_quarto.yml":
        errs.append(f"{NBS}/_quarto.yml must be a link to ../_quarto.yml (ln -s)")
    return errs

def prose(f):
    "Markdown without code: of a notebook's markdown cells, or of a file"
    md = "\n\n".join(text(c) for c in SOUND[f]["cells"] if c["cell_type"] == "markdown") if f in SOUND else (ROOT / f).read_text(encoding="utf-8")
    return re.sub(r"`[^`\n]+`", "``", re.sub(r"^(```+).*?^\1|<!--.*?-->", "", md, flags=re.M | re.S))

def anchors(f):
    "What `#...` may name: headings as Pandoc makes names of them (GitHub outside of the site), and {#names}"
    md = "\n\n".join(text(c) for c in SOUND[f]["cells"] if c["cell_type"] == "markdown") if f in SOUND else (ROOT / f).read_text(encoding="utf-8")
    seen, names = {}, set(re.findall(r"\{#([\w:.-]+)", md))
    for title in re.findall(r"^#+ +(.+?) *$", re.sub(r"^(```+).*?^\1", "", md, flags=re.M | re.S), re.M):
        title = re.sub(r"\{[^}]*\}$|!?\[([^]]*)\]\([^)]*\)|[`*$]", r"\1", title).lower()
        slug = re.sub(r"\s", "-", re.sub(r"[^\w\s.-]" if f in SOUND else r"[^\w\s-]", "", title).strip())
        slug = re.sub(r"^[^a-z]+", "", slug) or "section" if f in SOUND else slug
        names.add(slug + (f"-{seen[slug]}" if slug in seen else "")); seen[slug] = seen.get(slug, 0) + 1
    return names

def check_links():
    "relative links, anchors and cross references lead somewhere; files that prose and comments name are there"
    lessons = sorted(f for f in SOUND if f.startswith(f"{NBS}/lessons/"))
    errs = [f"{a} does not lead to the next lesson, {Path(b).name}" for a, b in zip(lessons, lessons[1:]) if f"]({Path(b).name})" not in prose(a)]
    folders = {p.as_posix() for f in FILES for p in PurePosixPath(f).parents}
    for f in [*SOUND, *(f for f in FILES if f.endswith(".md"))]:
        md, here = prose(f), PurePosixPath(f).parent.as_posix()
        links = re.findall(r"\]\(\s*<?([^)\s>]+)[^)]*\)|^\[[^]]+\]:\s*(\S+)|(?:href|src)=[\"']([^\"']+)", md, re.M)
        for link in map("".join, links):
            if re.match(r"[a-zA-Z][\w+.-]*:|//", link): continue
            path, _, name = unquote(link).partition("#")
            to = os.path.normpath(os.path.join(here, path)) if path else f
            if link.startswith("/") or to not in FILES and to not in folders: errs.append(f"{f} links to {link}, which is not there")
            elif f in SOUND and not to.startswith(NBS + "/"): errs.append(f"{f} links to {link}, which the site does not have: name it as `{to}`")
            elif name and (to in SOUND or to.endswith(".md")) and name not in anchors(to): errs.append(f"{f} links to {link}: no heading of {to} has this name")
        if f in SOUND:
            labels = anchors(f) | set(re.findall(r"^#\s*\|\s*label:\s*(\S+)", "\n".join(text(c) for c in SOUND[f]["cells"]), re.M))
            errs += [f"{f} refers to @{r}, which has no target in it" for r in dict.fromkeys(re.findall(r"(?<![\w@])@((?:fig|tbl|sec|eq|lst)-[\w-]*\w)", md)) if r not in labels]
        source = "\n".join(text(c) for c in SOUND[f]["cells"]) if f in SOUND else (ROOT / f).read_text(encoding="utf-8")
        named = dict.fromkeys(re.findall(rf"(?<![\w./(-])((?:{NBS}|{LIB}|tests|results)/[\w./-]+\.(?:ipynb|py|md|csv))\b", source))
        errs += [f"{f} names {n}, which is not there" for n in named if n not in FILES]
    return errs

def parameters(f):
    "What papermill's -p can set in a notebook"
    cells = [c for c in load(f)["cells"] if "parameters" in c["metadata"].get("tags", [])]
    return {n.id for c in cells for n in ast.walk(ast.parse(text(c))) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}

def wrong(command):
    "What is wrong with a papermill line, or None"
    try: words = shlex.split(command, comments=True)
    except ValueError as e: return f"is no command ({e})"
    if words[1] not in SOUND: return f"runs {words[1]}, which is not there"
    given = [words[i + 1] for i, w in enumerate(words[:-1]) if w == "-p"]
    for i, w in enumerate(words[:-1]):
        if w == "-y":
            try: given += yaml.safe_load(words[i + 1])
            except (yaml.YAMLError, TypeError) as e: return f"has no dictionary behind -y ({' '.join(str(e).split())})"
    if unknown := [g for g in given if g not in parameters(words[1])]: return f"sets {', '.join(unknown)}, which {words[1]} does not take"

def check_commands():
    "every papermill line in prose runs a notebook that is there, and sets what it takes"
    errs = []
    for f in [*SOUND, *(f for f in FILES if f.endswith((".md", ".yaml")))]:
        source = "\n".join(text(c) for c in SOUND[f]["cells"] if c["cell_type"] == "markdown") if f in SOUND else re.sub(r"^\s*- '(.*)'$", r"\1", (ROOT / f).read_text(encoding="utf-8"), flags=re.M)
        errs += [f"{f}: `{c}` {w}" for c in dict.fromkeys(re.findall(rf"(?<!\w)papermill {NBS}/[^`\n]+", source)) if (w := wrong(c.split("    #")[0]))]
    return errs

def results():
    "The table of results/README.md: file -> (command or None, what else it says, when and on what)"
    rows = re.findall(r"^\| (`[^|]+) \| (.+) \|([^|]*)\|$", (ROOT / "results/README.md").read_text(encoding="utf-8"), re.M)
    return {f: (m[1] if (m := re.search(r"`(papermill [^`]+)`", how)) else None, re.sub(r"`papermill [^`]+`", "", how).strip(" ()"), made.strip()) for files, how, made in rows for f in re.findall(r"`([^`]+)`", files)}

def check_results():
    "every file in results/ has the command that makes it, or its sources in it"
    import pandas as pd
    listed, errs = results(), []
    for f in [f[8:] for f in FILES if f.startswith("results/") and not f.endswith(".md")]:
        command, rest, made = listed.pop(f, (None, "", ""))
        if command and f"results/{f}" not in command and "noisykit." not in rest: errs.append(f"results/README.md: the command of {f} does not write it")
        if command and not re.match(r"20\d\d-\d\d-\d\d, \S", made): errs.append(f"results/README.md does not say when and on what {f} was made (2026-11-21, 2 CPU cores)")
        if command: continue
        if not f.endswith(".csv") or "source" not in (t := pd.read_csv(ROOT / "results" / f)) or t.source.isna().any(): errs.append(f"results/{f} has no command in results/README.md, and not every row names its source")
    return errs + [f"results/README.md lists {f}, which is not there" for f in listed]

def check_pages():
    "nbdev makes a page of every notebook that loses nothing and shows nothing it should not"
    errs = []
    for f, nb in SOUND.items():
        exports = any(re.match(r"#\s*\|\s*exports?\b", text(c)) for c in nb["cells"] if c["cell_type"] == "code")
        for c in nb["cells"] if exports else []:
            if c["cell_type"] != "code" or re.search(r"^#\s*\|\s*(export|exports|exporti|exec_doc|eval: false)\b", text(c), re.M): continue
            try: tree = ast.parse(re.sub(r"^\s*[%!].*", "", text(c), flags=re.M))
            except SyntaxError: continue
            is_import = lambda n: isinstance(n, (ast.Import, ast.ImportFrom))
            if any(map(is_import, ast.walk(tree))) and not all(map(is_import, tree.body)): errs.append(f"{f}, cell {c.get('id')}: nbdev runs cells with imports to make the site, this one without those before it: put the imports into a cell of their own")
        before = ""
        for line in re.sub(r"^(```+).*?^\1", "", "\n\n".join(text(c) for c in nb["cells"] if c["cell_type"] == "markdown"), flags=re.M | re.S).split("\n"):
            if re.match(r"([-*] |\d+\. |\||#+ )", line) and before.strip() and not re.match(r"\s|[-*] |\d+\. |\||#+ ", before): errs.append(f"{f}: no empty line before {line[:40]!r}, so that the site shows one paragraph")
            before = line
    with tempfile.TemporaryDirectory() as d:
        for f in FILES:
            if f.startswith((NBS + "/", LIB + "/")) or f == "settings.ini":
                (dst := Path(d, f)).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / f, dst)
        with open(Path(d, "settings.ini"), "a") as ini: ini.write("\nskip_procs = exec_show_docs,add_links\n")  # the first needs torch
        run = subprocess.run([sys.executable, "-W", "always::UserWarning", "-c", "from nbdev.serve import proc_nbs\nproc_nbs(n_workers=0)"], cwd=d, capture_output=True, text=True,
                             env={k: v for k, v in os.environ.items() if k != "IN_TEST"} | {"PYTHONPATH": d})
        if run.returncode: return [*errs, f"nbdev_proc_nbs failed: {(run.stderr.strip() or 'no message').splitlines()[-1]}"]
        errs += [f"nbdev does not take {f} to the site" for f in FILES if f.startswith(NBS + "/") and not f.endswith(".ipynb") and shown(f[len(NBS) + 1:]) and not Path(d, "_proc", f[len(NBS) + 1:]).is_file()]
        for f, nb in SOUND.items():
            try: cells = json.loads(Path(d, "_proc", f[len(NBS) + 1:]).read_text(encoding="utf-8"))["cells"]
            except (OSError, ValueError): errs.append(f"nbdev makes no page of {f}"); continue
            try: front = yaml.safe_load(text(cells[0]).strip().strip("-")) if cells[0]["cell_type"] == "raw" else {}
            except yaml.YAMLError: front = {}
            if lacks := [k for k in ("title", "description") if not front.get(k)]: errs.append(f"{f} has no {' and no '.join(lacks)}: the first markdown cell is `# title`, an empty line, `> one line`")
            there = {l.strip() for c in cells if c["cell_type"] == "markdown" for l in text(c).split("\n")} | {f"# {front.get('title')}", f"> {front.get('description')}"}
            there |= {f"- {k}: {str(v).lower() if isinstance(v, bool) else v}" for k, v in front.items()}
            lost = [l.strip() for c in nb["cells"] if c["cell_type"] == "markdown" for l in text(c).split("\n") if l.strip() and l.strip() not in there]
            if lost: errs.append(f"{f}: the site loses {lost[0][:60]!r}: a title cell holds `# title` and `> one line`, all else stands in other cells")
            if leak := next((c for c in cells if c["cell_type"] == "code" and re.search(r"^#\s*\|\s*(export|exporti|hide|default_exp)\b", text(c), re.M)), None): errs.append(f"{f}: cell {leak.get('id')} would be on the site and should not")
    return errs

CHECKS = {"site": check_site, "links": check_links, "commands": check_commands, "results": check_results, "pages": check_pages}

if __name__ == "__main__": sys.exit(main(sys.argv[1:], CHECKS))
