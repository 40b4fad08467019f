"""What a run writes is read as it was written, and a damaged record is a sentence."""
from pathlib import Path

import numpy as np
import pandas as pd
from hypothesis import strategies as st

from noisykit.record import Run, claim_run_folder, tabulate_runs, write_labels, write_metrics, write_samples
from refusals import unless_refused
from strategies import fuzz, new_folder, records

def write(folder, record):
    "A run folder with all that its record holds"
    run = claim_run_folder(folder, record["config"], record["presets"], record["env"])
    write_labels(run, pd.DataFrame(record["labels"]), record["about"])
    for epoch, (row, values) in enumerate(zip(record["rows"], record["values"]), 1):
        write_samples(run, epoch, values)
        write_metrics(run, row)

@fuzz(60, record=records())
def test_a_record_is_read_as_it_was_written(record):
    with new_folder() as folder:
        write(folder, record)
        run = Run(folder)
        assert (run.config, run.presets, run.env) == (record["config"], record["presets"], record["env"])
        assert run.data == record["about"] | dict(rows=len(run.all_labels))
        for read, written in ((run.all_labels, record["labels"]), (run.metrics, record["rows"])):
            pd.testing.assert_frame_equal(read, pd.DataFrame(written), check_exact=True, check_dtype=False)
        for epoch, values in enumerate(record["values"], 1):
            assert run.fields(epoch) == list(values)
            for name, array in values.items():
                read = run.samples(name, epoch)
                assert read.dtype == array.dtype and np.array_equal(read, array)
        assert run.finished

def damaged(content, how, place, byte):
    "What a file holds after something went wrong"
    place = int(place*len(content))
    if how == "cut": return content[:place]
    if how == "changed": return content[:place] + bytes([byte]) + content[place + 1:]
    return bytes([byte])*100

READ = dict(config=lambda run: run.config, presets=lambda run: run.presets, env=lambda run: run.env,
            data=lambda run: run.data, metrics=lambda run: run.metrics, labels=lambda run: run.labels,
            valid=lambda run: run.valid, finished=lambda run: run.finished, gap=lambda run: run.first_gap(),
            has=lambda run: run.has("loss"), table=lambda run: tabulate_runs([run]), name=repr)

@fuzz(120, record=records(), number=st.integers(0, 99), how=st.sampled_from(["cut", "changed", "other", "gone"]),
      place=st.floats(0, .999), byte=st.integers(0, 255))
def test_a_damaged_record_is_a_sentence(record, number, how, place, byte):
    with new_folder() as folder:
        write(folder, record)
        files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
        file = files[number % len(files)]
        if how == "gone": file.unlink()
        else: file.write_bytes(damaged(file.read_bytes(), how, place, byte))
        run = unless_refused(Run, folder)
        if run is None: return
        for read in READ.values(): unless_refused(read, run)
        for epoch, values in enumerate(record["values"], 1):
            for name in values:
                try: unless_refused(run.samples, name, epoch)
                except KeyError as error: assert "this run has no" in str(error)
