"""The page of the run folder, nbs/ground/record.ipynb, names every file and every column that a real run has."""
import json
import re

import numpy as np
import pandas as pd

from conftest import ROOT

def named():
    "What stands in backticks in the tables of the page"
    cells = json.loads((ROOT/"nbs/ground/record.ipynb").read_text())["cells"]
    page = next("".join(cell["source"]) for cell in cells if "What a run folder holds" in "".join(cell["source"]))
    return set(re.findall("`([^`]+)`", "\n".join(row for row in page.split("\n") if row.startswith("|"))))

def without_endings(column): return re.sub("(_clean|_flipped|_ema)+$", "", column)

def unknown_columns(run, known):
    "Columns and arrays of a run that no table of the page names"
    columns = {*pd.read_csv(run/"labels.csv"), *pd.read_csv(run/"metrics.csv")}
    for path in run.glob("samples/*.npz"): columns |= {*np.load(path)}
    alike = {without_endings(name) for name in known}
    def is_known(name): return without_endings(name) in alike or name.replace("valid", "test") in known
    return {name for name in columns if not is_known(name)}

def unknown_files(run, known):
    names = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}
    places = {name.partition("/")[2] for name in known if name.startswith("samples/")} | known
    def is_known(name):
        first, _, rest = name.partition("/")
        return f"{first}/" in known or re.sub(r"\d{4}", "0001", rest or first) in places
    return {name for name in names if not is_known(name)}

def test_the_page_names_all(l2r_run):
    known, (_, run) = named(), l2r_run
    assert not unknown_files(run, known) and not unknown_columns(run, known)

def test_a_file_or_a_column_that_the_page_does_not_name(copy_of_l2r):
    (copy_of_l2r/"new.csv").write_text("")
    metrics = pd.read_csv(copy_of_l2r/"metrics.csv").assign(new=1)
    metrics.to_csv(copy_of_l2r/"metrics.csv", index=False)
    assert unknown_files(copy_of_l2r, named()) == {"new.csv"} and unknown_columns(copy_of_l2r, named()) == {"new"}
