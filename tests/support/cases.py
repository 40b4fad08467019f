"""A small run of every method, alone and with add-ons, by what its class says it needs: a new method is among them
without a line here."""
from noisykit.train.method import ADDONS, COMPOSED, expanded, known_methods

EPOCHS = 3   # the last one shows whether the rate's schedule went on
# 160 samples in 6 steps an epoch; parts of a batch or of the probe that two processes share differ in size
USUAL = dict(dataset="digits", data_options=dict(train_size=201, test_size=100), noise="symmetric", noise_rate=.4,
             model="cnn", epochs=EPOCHS, batch_size=31, lr=.05, schedule="cosine", precision="float64",
             batch_norm="synced", device="cpu")
PROBE = 41

def method_of(name): return known_methods()[expanded(name)[0]]

def settings(name, level=None):
    "A small run, by what the method's class says it needs"
    cls = method_of(name)
    level = dict(meta_level=level) if level else {}
    return USUAL | dict(method=name, probe_size=PROBE if cls.needs_probe else 0) | level

METHODS = sorted(known_methods())
LOOK_AHEAD = [name for name in METHODS if method_of(name).looks_ahead]
COMBINED = [*sorted(COMPOSED), *(f"ce+{addon}" for addon in sorted(ADDONS)), "sln+mo+lc"]
CASES = {name: settings(name, "all" if name in LOOK_AHEAD else None) for name in [*METHODS, *COMBINED]}
CASES |= {f"{name}, last layer": settings(name, "last") for name in LOOK_AHEAD}
