"""Tables that somebody made: each row is used or named, and what cannot be read is a sentence."""
import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd
from hypothesis import example, strategies as st

from noisykit.data.noise import load_noise, make_noise
from noisykit.data.scan import unfit
from noisykit.data.tables import image_list, read_image_list, read_table
from refusals import unless_refused
from strategies import NAMES, fuzz, new_folder, noise_queries, tables

COLUMNS = ["path", "label", "more"]

SPACE_IN_QUOTES = b'path,label,more\n" ""a""",b,c\n x,y,z\n', [[' "a"', "b", "c"], [" x", "y", "z"]]

@fuzz(150, table=tables(COLUMNS))
@example(SPACE_IN_QUOTES) # the space before x was lost
def test_any_table(table):
    "Each value as it was written; a row without any value is left out and counted"
    content, rows = table
    full = [row for row in rows if any(map(str.strip, row))]
    with new_folder() as folder:
        (Path(folder)/"t.csv").write_bytes(content)
        read = unless_refused(read_table, Path(folder)/"t.csv", ["path", "label"])
    if read is None:
        assert not full or any(unicodedata.category(letter) == "Cc" for row in rows for letter in "".join(row))
        return
    assert read.rows.to_numpy().tolist() == full
    assert any("without any value" in note for note in read.notes) == (len(full) < len(rows))

@fuzz(150, content=tables(COLUMNS).map(lambda table: table[0]), place=st.floats(0, 1), cut=st.integers(0, 3),
      more=st.binary(max_size=3))
@example(b'"a\nb"\n1\n', 0., 0, b"") # the heading's line break came into the sentence
def test_any_bytes(content, place, cut, more):
    "A damaged table is a table or a sentence"
    place = int(place*len(content))
    with new_folder() as folder:
        (Path(folder)/"t.csv").write_bytes(content[:place] + more + content[place + cut:])
        unless_refused(read_table, Path(folder)/"t.csv", ["path", "label"])

NAMED = st.text(max_size=4).map(lambda word: word.strip() or "x") | st.sampled_from(["a", "b", "1", "01", "1.0", "NA"])

@st.composite
def image_lists(draw):
    "Names of files that are there, their labels, flags of those that are removed"
    names = draw(st.lists(NAMES.filter(lambda name: not unfit(name)), min_size=1, max_size=6, unique=True))
    def one_each(values): return draw(st.lists(values, min_size=len(names), max_size=len(names)))
    return names, one_each(NAMED), one_each(st.sampled_from(["", "", "", "True", "0"]))

@fuzz(100, table=image_lists())
def test_any_list_of_images(table):
    "Rows in = rows used + rows named, with their own labels"
    names, labels, removed = table
    with new_folder() as folder:
        for name in names: (Path(folder)/name).write_bytes(b"x")
        frame = pd.DataFrame(dict(path=names, label=labels, removed=removed))
        (Path(folder)/".list.csv").write_text(image_list(frame), newline="")
        read = unless_refused(read_image_list, Path(folder)/".list.csv")
        if read is None: return
        files, given, found = read
    kept = [place for place, flag in enumerate(removed) if flag != "True"]
    assert [Path(file).name for file in files] == [names[place] for place in kept]
    assert given == [labels[place] for place in kept]
    assert len(found.left_out) == len(names) - len(kept)

@fuzz(100, query=noise_queries(), order=st.permutations(range(30)), rows=st.integers(0, 30), more=st.booleans())
def test_a_noise_file_of_other_rows_is_refused(query, order, rows, more):
    "Rows in another order, or fewer: the same labels for each image as before, or a sentence"
    noise = unless_refused(make_noise, **query)
    if noise is None: return
    size = len(noise.given)
    table = pd.DataFrame(dict(index=np.arange(size), label=query["true"], label_noisy=noise.given))
    table = table.iloc[[place for place in order if place < size][:rows]]
    if more: table = table.drop(columns="index")
    with new_folder() as folder:
        table.to_csv(Path(folder)/"n.csv", index=False)
        read = unless_refused(load_noise, Path(folder)/"n.csv", query["true"], query["num_classes"])
    if read is not None and not more: assert (read.given == noise.given).all()
