"Run folders with numbers that a test chooses."
import json
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from noisykit.record import Run, write_samples

def constructed(
    folder,
    given, # labels
    true=None, # labels; None: the given ones
    epochs=(), # for each epoch a dict of fields
    split=None, # of each sample; None: all are trained on
    classes=10, # how many
    threshold=None, # a run of AUM's threshold samples: the first or the second
    **final, # fields of the validation split, by the final network
):
    "A run of which this is the record"
    folder, given = Path(folder), np.asarray(given)
    true = given if true is None else np.asarray(true)
    (folder/"samples").mkdir(parents=True)
    config = dict(config=dict(method="ce", epochs=len(epochs), threshold=threshold), presets={})
    (folder/"config.yaml").write_text(yaml.safe_dump(config))
    names = [str(c) for c in range(classes)] + ["threshold"]*(threshold is not None)
    (folder/"data.json").write_text(json.dumps(dict(classes=names)))
    labels = dict(index=range(len(given)), split="train" if split is None else split, true=true, given=given)
    pd.DataFrame(labels | dict(flipped=given != true)).to_csv(folder/"labels.csv", index=False)
    run = Run(folder)
    for epoch, values in enumerate(epochs, 1): write_samples(run, epoch, as_arrays(values))
    if final: write_samples(run, "final_valid", as_arrays(final))
    pd.DataFrame(dict(epoch=range(1, len(epochs) + 1))).to_csv(folder/"metrics.csv", index=False)
    return run

def as_arrays(values): return {name: np.asarray(array) for name, array in values.items()}
