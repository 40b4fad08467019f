"""Is the site in order? Its settings and sidebar, links and references, the pages as nbdev hands them to Quarto, where
results come from. Neither torch nor Quarto is needed, nothing is written here.

    python tests/tools/check_docs.py                 every check
    python tests/tools/check_docs.py links pages     these only
"""
import ast, json, os, posixpath, re, shlex, shutil, subprocess, sys, tempfile
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

import yaml
from check_tree import CFG, FILES, LIB, NBS, NOTEBOOKS, ROOT, load, main, shown, tagged, text

SHOWN = [file for file in NOTEBOOKS if shown(file[len(NBS) + 1:])]
SOUND = {file: nb for file in SHOWN if not isinstance(nb := load(file), str)}  # check_tree names the others

def schema():
    "What _quarto.yml may hold: the part of Quarto's own settings that the site uses"
    item = {"anyOf": [{"type": "string"}, {"type": "object", "additionalProperties": False, "properties": {
        **{key: {"type": "string"} for key in ("section", "href", "text", "auto")},
        "contents": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"$ref": "#/$defs/item"}}]}}}]}
    text, yes = {"type": "string"}, {"type": "boolean"}
    def table(required, anything="", **properties):
        properties |= {name: {} for name in anything.split()}
        return {"type": "object", "additionalProperties": False, "required": required, "properties": properties}
    project = table(["type", "output-dir"], "resources preview render",
                    **{"type": {"const": "website"}, "output-dir": {"const": CFG["doc_path"]}})
    html = table([], "theme code-fold code-copy code-overflow grid fig-width fig-height",
                 **{"css": text, "toc": yes, "toc-depth": {"type": "integer"}, "keep-md": yes})
    sidebar = table(["contents"], "id title search collapse-level",
                    style=text, contents={"type": "array", "items": {"$ref": "#/$defs/item"}})
    website = table(["title", "sidebar"], "description site-url repo-url repo-branch repo-subdir repo-actions "
                    "open-graph twitter-card favicon navbar page-footer", title=text, sidebar=sidebar)
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
        if isinstance(item, str):
            rows.append((item, section))
            continue
        rows += [(item[key], section) for key in ("href", "auto") if key in item]
        rows += rows_of(item.get("contents", []), item.get("section", section))
    return rows

def page_of(file):
    "The page that nbdev makes of a notebook, without .html: it takes a number off the name"
    path = PurePosixPath(file[len(NBS) + 1:])
    return str(path.with_name(re.sub(r"^\d+[a-zA-Z0-9]*_", "", path.stem.lower())))

def title_of(file):
    "The title of a notebook"
    first = next((text(cell) for cell in SOUND[file]["cells"] if cell["cell_type"] == "markdown"), "")
    return first.split("\n")[0].lstrip("# ")

def plain(title): return re.sub(r"^\d+\. |[*`]", "", title).lower()

def shared(
    pages, # notebooks
    of, # what no two of them may have in common
):
    "Triples (first, second, what both have)"
    found, doubles = {}, []
    for file in pages:
        if (name := of(file)) in found: doubles.append((found[name], file, name))
        found.setdefault(name, file)
    return doubles

def in_sidebar(contents):
    "What is wrong with the rows of the sidebar"
    have, listed, errs = [file[len(NBS) + 1:] for file in SHOWN], [], []
    for row, section in rows_of(contents):
        files = [file for file in have if PurePosixPath(file).match(row) and file.count("/") == row.count("/")]
        if not files: errs.append(f"the sidebar of _quarto.yml lists {row}, which is not in {NBS}/")
        listed += [(file, section) for file in files]
    names = [file for file, _ in listed]
    errs += [f"{NBS}/{file} is not in the sidebar of _quarto.yml" for file in have if file not in names]
    twice = {file for file in names if names.count(file) > 1}
    errs += [f"the sidebar of _quarto.yml lists {file} twice" for file in sorted(twice)]
    for folder in sorted({posixpath.dirname(file) for file in names} - {""}):
        rows = [(file, section) for file, section in listed if posixpath.dirname(file) == folder]
        sections = sorted({section for _, section in rows})
        if len(sections) > 1:
            errs.append(f"the sidebar of _quarto.yml has {folder}/ in several sections: {', '.join(sections)}")
        numbered = [file for file, _ in rows if posixpath.basename(file)[0].isdigit()]
        errs += [f"the sidebar of _quarto.yml lists {b} after {a}" for a, b in zip(numbered, numbered[1:]) if b < a]
    if names and names[0] != "index.ipynb": errs.append("the sidebar of _quarto.yml starts with index.ipynb")
    return errs

def check_site():
    "_quarto.yml is well formed, each notebook once in the sidebar, a folder in one place; no two pages of one title"
    from jsonschema import Draft202012Validator
    try: q = yaml.safe_load((ROOT / "_quarto.yml").read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error: return [f"_quarto.yml cannot be read: {' '.join(str(error).split())}"]
    errs = [f"_quarto.yml: {'/'.join(map(str, error.absolute_path)) or 'top'}: {error.message}"
            for error in Draft202012Validator(schema()).iter_errors(q)]
    if not errs:
        errs += in_sidebar(q["website"]["sidebar"]["contents"])
        named = [q["format"]["html"].get("css"), q["website"].get("favicon")]
        errs += [f"_quarto.yml names {name}, which is not in {NBS}/" for name in named
                 if name and f"{NBS}/{name}" not in FILES]
    if f"{NBS}/404.qmd" not in FILES: errs.append(f"{NBS}/404.qmd, the page of wrong addresses, is missing")
    errs += [f"{a} and {b} would be one page of the site, {page}.html: rename one"
             for a, b, page in shared(SHOWN, page_of)]
    errs += [f"{a} and {b} have the same title, {title!r}"
             for a, b, title in shared(SOUND, lambda file: plain(title_of(file)))]
    link = ROOT / NBS / "_quarto.yml"
    if not link.is_symlink() or os.readlink(link) != "../_quarto.yml":
        errs.append(f"{NBS}/_quarto.yml must be a link to ../_quarto.yml (ln -s)")
    return errs

def markdown(file):
    "The text of a notebook's markdown cells, or of a file"
    if file not in SOUND: return (ROOT / file).read_text(encoding="utf-8")
    return "\n\n".join(text(cell) for cell in SOUND[file]["cells"] if cell["cell_type"] == "markdown")

def source(file):
    "All cells of a notebook, or a file"
    return "\n".join(map(text, SOUND[file]["cells"])) if file in SOUND else markdown(file)

def no_fences(md): return re.sub(r"^(```+).*?^\1", "", md, flags=re.M | re.S)

def no_comments(md): return re.sub(r"<!--.*?-->", "", md, flags=re.S)

def prose(file):
    "Markdown without code and comments"
    return re.sub(r"`[^`\n]+`", "``", no_comments(no_fences(markdown(file))))

def anchors(file):
    "What `#...` may name: headings as Pandoc makes names of them (GitHub outside of the site), and {#names}"
    md = markdown(file)
    seen, names = {}, set(re.findall(r"\{#([\w:.-]+)", md))
    for title in re.findall(r"^#+ +(.+?) *$", no_fences(md), re.M):
        title = re.sub(r"\{[^}]*\}$|!?\[([^]]*)\]\([^)]*\)|[`*$]", r"\1", title).lower()
        slug = re.sub(r"\s", "-", re.sub(r"[^\w\s.-]" if file in SOUND else r"[^\w\s-]", "", title).strip())
        if file in SOUND: slug = re.sub(r"^[^a-z]+", "", slug) or "section"
        names.add(slug + (f"-{seen[slug]}" if slug in seen else ""))
        seen[slug] = seen.get(slug, 0) + 1
    return names

LINK = re.compile(r"\]\(\s*<?([^)\s>]+)[^)]*\)|^\[[^]]+\]:\s*(\S+)|(?:href|src)=[\"']([^\"']+)", re.M)
NUMBER = re.compile(r"\[0*(\d+)[a-z]?(?:_[^]\s]*)?\]\(([^)\s]+)\)") # a link whose text is a number, or a name with one
TEXTS = [*SOUND, *(file for file in FILES if file.endswith(".md"))]

def wrong_link(
    file, # the file that has it
    link, # what it leads to
    folders, # of the tree
):
    "What is wrong with a link, or None"
    if re.match(r"[a-zA-Z][\w+.-]*:|//", link): return
    path, _, name = unquote(link).partition("#")
    to = os.path.normpath(os.path.join(posixpath.dirname(file), path)) if path else file
    if link.startswith("/") or to not in FILES and to not in folders: return f"links to {link}, which is not there"
    if file in SOUND and not to.startswith(NBS + "/"):
        return f"links to {link}, which the site does not have: name it as `{to}`"
    if name and (to in SOUND or to.endswith(".md")) and name not in anchors(to):
        return f"links to {link}: no heading of {to} has this name"

def exported_names():
    "module of the kit -> the names that are defined at its top level; packages too"
    found = {}
    for file in FILES:
        if not file.startswith(LIB + "/") or not file.endswith(".py"): continue
        name = file[:-3].replace("/", ".").removesuffix(".__init__")
        try: tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        except SyntaxError: tree = ast.parse("") # check_tree says it
        names = found.setdefault(name, set())
        for n in tree.body:
            if hasattr(n, "name"): names.add(n.name)
            names |= {m.id for m in ast.walk(n) if isinstance(m, ast.Name) and isinstance(m.ctx, ast.Store)}
        while "." in name:
            name, _, child = name.rpartition(".")
            found.setdefault(name, set()).add(child)
    return found

def unknown_names(
    words, # prose and code
    known, # what `exported_names` found
):
    "Names of the kit, noisykit.module.name or imported from noisykit.module, that it does not have"
    taken = re.findall(rf"from ({LIB}(?:\.\w+)*) import (\([^)]*\)|[\w, ]+)", words)
    dotted = [f"{m}.{n}" for m, names in taken for n in re.findall(r"(?:^|,)[\s(]*(\w+)", names)]
    for name in dict.fromkeys([*re.findall(rf"(?<![\w./@-]){LIB}(?:\.\w+)+(?!\w*[/@-]\w)", words), *dotted]):
        module = name
        while module not in known: module = module.rpartition(".")[0]
        rest = name[len(module) + 1:].split(".")[0]
        if rest and rest not in known[module] | {"__file__", "__path__", "__version__"}: yield name

def check_links():
    "relative links, anchors and references lead somewhere; files and names of the kit that texts name are there"
    lessons = sorted(file for file in SOUND if file.startswith(f"{NBS}/lessons/"))
    errs = [f"{a} does not lead to the next lesson, {Path(b).name}"
            for a, b in zip(lessons, lessons[1:]) if f"]({Path(b).name})" not in prose(a)]
    folders, known = {p.as_posix() for file in FILES for p in PurePosixPath(file).parents}, exported_names()
    stems = {Path(file).stem for file in FILES}
    for file in TEXTS:
        md, everything = prose(file), source(file)
        wrong = [wrong_link(file, "".join(link), folders) for link in LINK.findall(md)]
        errs += [f"{file} {error}" for error in wrong if error]
        errs += [f"{file} gives {to} the number {number}, which it does not have" for number, to in NUMBER.findall(md)
                 if not re.match(rf"0*{number}_", PurePosixPath(to).name)]
        if file in SOUND:
            labels = anchors(file) | set(re.findall(r"^#\s*\|\s*label:\s*(\S+)", everything, re.M))
            references = dict.fromkeys(re.findall(r"(?<![\w@])@((?:fig|tbl|sec|eq|lst)-[\w-]*\w)", md))
            errs += [f"{file} refers to @{r}, which has no target in it" for r in references if r not in labels]
        path = rf"(?<![\w./(-])((?:{NBS}|{LIB}|tests|results)/[\w./-]+\.(?:ipynb|py|md|csv|yaml))\b"
        named = dict.fromkeys(re.findall(path, everything))
        errs += [f"{file} names {n}, which is not there" for n in named if n not in FILES]
        errs += [f"{file} names {n}, which the kit does not have" for n in unknown_names(everything, known)]
        numbered = dict.fromkeys(re.findall(r"(?<![\w./-])\d\d[a-z]?_[a-z]\w+", everything))
        errs += [f"{file} names {n}, which is no notebook" for n in numbered if n not in stems]
    return errs

def parameters(file):
    "What papermill's -p can set in a notebook"
    code = "\n".join(text(cell) for cell in tagged(load(file)["cells"]))
    return {n.id for n in ast.walk(ast.parse(code)) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}

def wrong_command(command):
    "What is wrong with a papermill line, or None"
    try: words = shlex.split(command, comments=True)
    except ValueError as error: return f"is no command ({error})"
    if words[1] not in SOUND: return f"runs {words[1]}, which is not there"
    given = [words[i + 1] for i, w in enumerate(words[:-1]) if w == "-p"]
    for word, following in zip(words, words[1:]):
        if word != "-y": continue
        try: given += yaml.safe_load(following)
        except (yaml.YAMLError, TypeError) as error:
            return f"has no dictionary behind -y ({' '.join(str(error).split())})"
    unknown = [g for g in given if g not in parameters(words[1])]
    if unknown: return f"sets {', '.join(unknown)}, which {words[1]} does not take"

def command_notebooks():
    "What `noisykit` knows: command -> the notebook that it runs, or ''"
    code = (ROOT / LIB / "command.py").read_text(encoding="utf-8") if f"{LIB}/command.py" in FILES else ""
    decorators = r"@(?:notebook_command\('(\w+)'.*|noisykit\.command\(.*)\n(?:@.*\n)*def (\w+?)_?\("
    return {command: notebook for notebook, command in re.findall(decorators, code)}

def wrong_noisykit(command):
    "What is wrong with a line that calls `noisykit`, or None"
    known, name = command_notebooks(), command.split()[1]
    if name not in known: return f"calls {name}, which is none of {', '.join(known)}"
    if known[name]: return wrong_command(command.replace(f"noisykit {name}", f"papermill {NBS}/{known[name]}.ipynb", 1))

NOISYKIT = r"(?:^|`)(noisykit [a-z]+\b(?:[^`\n']|'[^'`]*')*)" # what is quoted may go over several lines

def check_commands():
    "every papermill line and call of noisykit in prose names a notebook or a command, and sets what it takes"
    errs = []
    for file in [*TEXTS, *(file for file in FILES if file.endswith(".yaml"))]:
        words = re.sub(r" *\\\n *", " ", markdown(file)) # a command may go on in the next line
        if file.endswith(".yaml"): words = re.sub(r"^\s*- '(.*)'$", r"\1", words, flags=re.M)
        commands = dict.fromkeys(re.findall(rf"(?<!\w)papermill {NBS}/[^`\n]+", words))
        for command in commands:
            if error := wrong_command(command.split("    #")[0]): errs.append(f"{file}: `{command}` {error}")
        for command in dict.fromkeys(re.findall(NOISYKIT, words, re.M)):
            if error := wrong_noisykit(command.split("    #")[0]): errs.append(f"{file}: `{command}` {error}")
    return errs

def results():
    "The table of results/README.md: file -> (command or None, what else it says, when and on what)"
    table, listed = (ROOT / "results/README.md").read_text(encoding="utf-8"), {}
    for files, how, made in re.findall(r"^\| (`[^|]+) \| (.+) \|([^|]*)\|$", table, re.M):
        command = re.search(r"`(papermill [^`]+)`", how)
        rest = re.sub(r"`papermill [^`]+`", "", how).strip(" ()")
        for file in re.findall(r"`([^`]+)`", files): listed[file] = command and command[1], rest, made.strip()
    return listed

def check_results():
    "every file in results/ has the command that makes it, or its sources in it"
    import pandas as pd
    listed, errs = results(), []
    for file in [file[8:] for file in FILES if file.startswith("results/") and not file.endswith(".md")]:
        command, rest, made = listed.pop(file, (None, "", ""))
        if command and f"results/{file}" not in command and "noisykit." not in rest:
            errs.append(f"results/README.md: the command of {file} does not write it")
        if command and not re.match(r"20\d\d-\d\d-\d\d, \S", made):
            errs.append(f"results/README.md does not say when and on what {file} was made (2026-11-21, 2 CPU cores)")
        if command: continue
        table = pd.read_csv(ROOT / "results" / file) if file.endswith(".csv") else {}
        if "source" not in table or table.source.isna().any():
            errs.append(f"results/{file} has no command in results/README.md, and not every row names its source")
    return errs + [f"results/README.md lists {file}, which is not there" for file in listed]

def mixed_imports(nb):
    "Cells of a notebook that exports where nbdev would run more than imports to make the page"
    code = [cell for cell in nb["cells"] if cell["cell_type"] == "code"]
    if not any(re.match(r"#\s*\|\s*exports?\b", text(cell)) for cell in code): return
    def is_import(node): return isinstance(node, (ast.Import, ast.ImportFrom))
    for cell in code:
        if re.search(r"^#\s*\|\s*(export|exports|exporti|exec_doc|eval: false)\b", text(cell), re.M): continue
        try: tree = ast.parse(re.sub(r"^\s*[%!].*", "", text(cell), flags=re.M))
        except SyntaxError: continue
        if any(map(is_import, ast.walk(tree))) and not all(map(is_import, tree.body)): yield cell.get("id")

def run_together(file):
    "Lines that start a list, a table or a heading right under a paragraph"
    before = ""
    for line in no_comments(no_fences(markdown(file))).split("\n"):
        starts = re.match(r"([-*] |\d+\. |\||#+ )", line)
        if starts and before.strip() and not re.match(r"\s|[-*] |\d+\. |\||#+ ", before): yield line
        before = line

def table_rows(md):
    "The tables of a text: rows, each a list of cells, the second one the dashes"
    rows = []
    for line in [*md.split("\n"), ""]:
        if line.startswith("|"): rows.append(re.split(r"(?<!\\)\|", line.strip().strip("|")))
        else:
            if len(rows) > 1: yield rows
            rows = []

def dashes(rows):
    "As many dashes for each column as its longest cell wants of forty: the square root of its letters, as lines break"
    def seen(cell): return len(re.sub(r"\]\([^)]*\)|[*`[]", "", cell).strip())
    wide = [max(map(seen, column)) ** .5 for column in zip(*rows)]
    return [max(3, round(40 * width / sum(wide))) for width in wide]

def wrong_widths(file):
    "Tables with a long row: their columns on the site are as wide as the dashes say"
    for rows in table_rows(no_comments(no_fences(markdown(file)))):
        there = [cell.count("-") for cell in rows[1]]
        body = [rows[0], *rows[2:]]
        wanted = dashes(body)
        wide = max(len("|".join(row)) for row in body) > 72 # below, the site makes columns as wide as their cells
        if wide and len(set(there)) == 1 and max(wanted) > 2 * min(wanted): yield "|" + "|".join(rows[0]) + "|", wanted

def stage(folder):
    "nbdev's pages in the folder; what it says where it fails, or None"
    for file in FILES:
        if not file.startswith((NBS + "/", LIB + "/")) and file != "settings.ini": continue
        (dst := Path(folder, file)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / file, dst, follow_symlinks=False)
    with open(Path(folder, "settings.ini"), "a") as settings:
        settings.write("\nskip_procs = exec_show_docs,add_links\n") # the first needs torch
    env = {k: v for k, v in os.environ.items() if k != "IN_TEST"} | {"PYTHONPATH": folder}
    code = "from nbdev.serve import proc_nbs\nproc_nbs(n_workers=0)"
    words = [sys.executable, "-W", "always::UserWarning", "-c", code]
    run = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True)
    if run.returncode: return (run.stderr.strip() or "no message").splitlines()[-1]

def wrong_page(
    nb, # the notebook
    cells, # those of its page
):
    "What a page lacks, loses and shows"
    try: front = yaml.safe_load(text(cells[0]).strip().strip("-")) if cells[0]["cell_type"] == "raw" else {}
    except yaml.YAMLError: front = {}
    if lacks := [k for k in ("title", "description") if not front.get(k)]:
        yield f" has no {' and no '.join(lacks)}: the first markdown cell is `# title`, an empty line, `> one line`"
    def lines(cells):
        words = "\n".join(text(cell) for cell in cells if cell["cell_type"] == "markdown")
        return [line.strip() for line in no_comments(words).split("\n")]
    there = {*lines(cells), f"# {front.get('title')}", f"> {front.get('description')}"}
    there |= {f"- {k}: {str(v).lower() if isinstance(v, bool) else v}" for k, v in front.items()}
    if lost := [line for line in lines(nb["cells"]) if line and line not in there]:
        yield f": the site loses {lost[0][:60]!r}: a title cell holds `# title` and `> one line` and nothing else"
    hidden = re.compile(r"^#\s*\|\s*(export|exporti|hide|default_exp)\b", re.M)
    leaks = [cell for cell in cells if cell["cell_type"] == "code" and hidden.search(text(cell))]
    if leaks: yield f": cell {leaks[0].get('id')} would be on the site and should not"

def words_for(cells, i):
    "What the text says last before cell `i`, without marks: the words for its picture, for who cannot see it"
    above = [text(cell) for cell in cells[:i] if cell["cell_type"] == "markdown"]
    paragraphs = [part.strip() for part in re.split(r"\n\s*\n", no_fences("\n\n".join(above)))]
    said = [part for part in paragraphs if part and not re.match(r"[#>|]|- \w+:", part)]
    last = re.sub(r"!?\[([^]]*)\]\([^)]*\)|[*`$]", r"\1", " ".join(said[-1].split())) if said else ""
    return last if len(last) <= 300 else last[:300].rpartition(" ")[0] + " ..."

def has_picture(cell): return any("image/png" in output.get("data", {}) for output in cell.get("outputs", []))

def without_words(file, nb):
    "Pictures that nothing is said of"
    for picture in re.findall(r"!\[\s*\]\([^)]*\)", prose(file)):
        yield f"the brackets of {picture} hold no words"
    for i, cell in enumerate(nb["cells"]):
        if has_picture(cell) and not words_for(nb["cells"], i):
            yield f"no text stands before the picture of cell {cell.get('id')}, from which its words are taken"

def check_workflows():
    "the workflows name a version of each action, and that of the site names a version of Quarto"
    errs = []
    for file in [file for file in FILES if file.startswith(".github/workflows/")]:
        used = re.findall(r"uses: (\S+)", (ROOT / file).read_text(encoding="utf-8"))
        errs += [f"{file} uses {action} without a version" for action in used
                 if not re.search(r"@(v\d+|[0-9a-f]{40})$", action)]
    site = (ROOT / ".github/workflows/docs.yaml").read_text(encoding="utf-8")
    if not re.search(r"quarto-actions/setup@v\d+\n +with:\n +version: [\d.]+$", site, re.M):
        errs.append(".github/workflows/docs.yaml does not name a version of Quarto")
    return errs

def check_pages():
    "nbdev makes a page of every notebook that loses nothing and shows nothing it should not"
    errs = []
    for file, nb in SOUND.items():
        errs += [f"{file}, cell {name}: nbdev runs cells with imports to make the site, this one without those before "
                 "it: put the imports into a cell of their own" for name in mixed_imports(nb)]
        errs += [f"{file}: no empty line before {line[:40]!r}, so that the site shows one paragraph"
                 for line in run_together(file)]
        errs += [f"{file}: {error}" for error in without_words(file, nb)]
        errs += [f"{file}: the columns of {head[:40]!r} are equally wide on the site, but not their cells: dashes as "
                 + "|".join("-" * n for n in wanted) for head, wanted in wrong_widths(file)]
    with tempfile.TemporaryDirectory() as folder:
        if failed := stage(folder): return [*errs, f"nbdev_proc_nbs failed: {failed}"]
        def page(file): return Path(folder, "_proc", file[len(NBS) + 1:])
        others = [file for file in FILES if file.startswith(NBS + "/") and not file.endswith(".ipynb")]
        others = [file for file in others if shown(file[len(NBS) + 1:])]
        errs += [f"nbdev does not take {file} to the site" for file in others if not page(file).is_file()]
        for file, nb in SOUND.items():
            try: cells = json.loads(page(file).read_text(encoding="utf-8"))["cells"]
            except (OSError, ValueError): errs.append(f"nbdev makes no page of {file}")
            else: errs += [f"{file}{error}" for error in wrong_page(nb, cells)]
    return errs

CHECKS = {"site": check_site, "links": check_links, "commands": check_commands, "results": check_results,
          "workflows": check_workflows, "pages": check_pages}

if __name__ == "__main__": sys.exit(main(sys.argv[1:], CHECKS))
