"""Decisions about the labels of any folder are read as they were written, and others are refused."""
import json
from pathlib import Path

import numpy as np
import pandas as pd
from hypothesis import strategies as st

from noisykit.audit.decisions import DECISIONS, decide, read_decisions, write_decisions
from noisykit.audit.look import list_images
from noisykit.audit.review import AuditItems
from refusals import unless_refused
from strategies import folders, fuzz, make_folder, new_folder

def audited(folder, suggest):
    "What an audit of folder/data would leave in folder/audit; None where there are no classes"
    images = unless_refused(list_images, folder/"data")
    if images is None: return None
    classes = sorted(set(images.label)) + [""]
    suspects = pd.DataFrame(dict(path=images.name, label=images.label, score=np.linspace(0, 1/3, len(images))))
    suspects["suggested"] = [classes[number % len(classes)] for number in range(suggest, suggest + len(images))]
    (folder/"audit").mkdir()
    suspects.to_csv(folder/"audit/suspects.csv", index=False)
    (folder/"audit/audit.json").write_text(json.dumps(dict(data_dir=str(folder/"data"))))
    return AuditItems(folder/"audit")

@fuzz(60, entries=folders(), suggest=st.integers(0, 5), data=st.data())
def test_any_decision(entries, suggest, data):
    with new_folder() as folder:
        (Path(folder)/"data").mkdir()
        make_folder(Path(folder)/"data", entries)
        items, decided = audited(Path(folder), suggest), None
        if items is None: return
        for _ in range(3):
            image = data.draw(st.sampled_from(list(items.table.image)))
            decision, label = data.draw(st.sampled_from([*DECISIONS, None])), data.draw(st.sampled_from(items.classes))
            new = unless_refused(decide, items, image, decision, label if decision == "another" else None, decided)
            decided = decided if new is None else new
        if decided is None: return
        write_decisions(decided, Path(folder)/"d.csv")
        read = read_decisions(Path(folder)/"d.csv", items)
        pd.testing.assert_frame_equal(read, decided, check_dtype=False, check_index_type=False)
        other = decided.assign(given=decided.given + "x")
        write_decisions(other, Path(folder)/"d.csv")
        assert unless_refused(read_decisions, Path(folder)/"d.csv", items) is None or not len(other)
