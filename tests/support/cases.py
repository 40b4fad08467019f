"""A small run of every method, alone and with add-ons, by what its class says it needs: a new method is among them
without a line here. And runs with options that such a run leaves as they are."""
import json

from draws import global_draws
from held import forked
from noisykit.run import run_method
from noisykit.train.method import ADDONS, COMPOSED, expanded, known_methods
from shared import once, one_thread

EPOCHS = 3   # the last one shows whether the rate's schedule went on
# 160 samples in 6 steps an epoch; parts of a batch or of the probe that two processes share differ in size
USUAL = dict(dataset="digits", data_options=dict(train_size=201, test_size=100), noise="symmetric", noise_rate=.4,
             model="cnn", epochs=EPOCHS, batch_size=31, lr=.05, schedule="cosine", precision="float64",
             batch_norm="synced", device="cpu")
PROBE = 41

def method_of(name): return known_methods()[expanded(name)[0]]

def classes_of(name):
    "The method, then its add-ons"
    return [method_of(name), *(ADDONS[addon] for addon in expanded(name)[1:])]

# a matrix that a short run on 160 samples tells is too coarse for the backward loss
OPTIONS = dict(forward=dict(T="known"), backward=dict(T="known"))

def settings(name, **more):
    "A small run, by what the method's class says it needs"
    own = dict(method=name, probe_size=PROBE if method_of(name).needs_probe else 0, options=OPTIONS.get(name))
    return USUAL | own | more

METHODS = sorted(known_methods())
LOOK_AHEAD = [name for name in METHODS if method_of(name).looks_ahead]
COMBINED = [*sorted(COMPOSED), *(f"ce+{addon}" for addon in sorted(ADDONS)), "sln+mo+lc"]
CASES = {name: settings(name, **dict(meta_level="all") if name in LOOK_AHEAD else {}) for name in [*METHODS, *COMBINED]}
CASES |= {f"{name}, last layer": settings(name, meta_level="last") for name in LOOK_AHEAD}

# ---- further runs, in one process and in two

QUEUE = dict(queue=60, queue_batch=23)   # of FSR
CORRECTED = dict(lc_after=1, ema_decay=.9)
RESTARTS = dict(first=1, longer=1.5, lower=.9)
# what these remember beside networks and optimizer is not empty in the middle of an epoch
REMEMBERING = {
    "mixup_hard, mixture": settings("mixup_hard", options=dict(gradient="mixture", scale="std")),
    "proposal+mo, soft": settings("proposal+mo", options=dict(labels="soft", scale="std")),
    "mlc, 4 meta steps": settings("mlc", options=dict(meta_steps=4, skip=True, tie=True)),
    "ieg+mo, restarts": settings("ieg+mo", meta_level="last", schedule=RESTARTS,
                                 options=dict(strong="randaugment", ema_ramp=True)),
    "fsr+mo, queue": settings("fsr+mo", options=QUEUE | dict(after=1)),
    "l2r+mo+lc, corrected": settings("l2r+mo+lc", options=CORRECTED),
    "sln+mo+lc, corrected": settings("sln+mo+lc", options=CORRECTED),
    "dividemix, averaged losses": settings("dividemix", options=dict(warm_up=1, history=2)),
    "gce, truncated": settings("gce", options=dict(k=.2, prune_after=1)),
}
FROZEN, PLAIN = dict(batch_norm="frozen"), dict(model="lenet")   # of batch norm and without it
VARIANTS = REMEMBERING | {
    "ce, frozen": settings("ce", **FROZEN),
    "ce, without batch norm": settings("ce", **PLAIN),
    "ce, evaluated": settings("ce", dynamics="evaluation", keep_probs=2, keep_features=True, val_share=.25, val_fold=3,
                              threshold=1),
    "l2r, frozen": settings("l2r", **FROZEN),
    "l2r, without batch norm": settings("l2r", **PLAIN),
    "l2r, adam": settings("l2r", optimizer="adam", lr=.001),
    "l2r, clipped": settings("l2r", grad_clip=.5),
    "l2r, sigmoid": settings("l2r", options=dict(weighting="sigmoid", scale="std")),
    "l2r, higher": settings("l2r", engine="higher", **FROZEN),
    "l2r, validation": settings("l2r", val_share=.2),
    "mixup_soft, scaled": settings("mixup_soft", options=dict(scale="std")),
    "fsr, shift": settings("fsr", meta_level="all",
                           options=QUEUE | dict(after=0, weighting="shift", smoothing=.1, mixup=False)),
    "fsr, as published": settings("fsr", options=QUEUE | dict(after=0, as_published=True, smoothing=.1, mixup=False)),
    "dividemix, asymmetric": settings("dividemix", noise="asymmetric", noise_options=dict(map="next"),
                                      options=dict(warm_up=1, confidence_penalty=True, lambda_u=0.)),
    "dividemix+mo, sure": settings("dividemix+mo", options=dict(warm_up=1, p_threshold=.99, ema_decay=.9)),
}
# in float32 a unit may land within rounding of its ReLU's kink, and the runs part there: few steps, in which none does
ROUNDED = dict(precision="float32", epochs=1)
SINGLE = {f"{name}, float32": (CASES | VARIANTS)[name] | ROUNDED
          for name in ("ce", "ce, frozen", "ce, without batch norm", "l2r", "l2r, frozen", "l2r, without batch norm")}
LOCAL = {"l2r, local weights": settings("l2r", options=dict(reduction="local"), **FROZEN)}
EVERY = CASES | VARIANTS | SINGLE | LOCAL

def in_one_process(tmp_path_factory, case):
    "Folder of a case's run in one process, without a stop; beside it, who drew from a global generator there"
    def train(folder):
        with one_thread(), global_draws(*classes_of(EVERY[case]["method"])) as drew:
            run_method(quiet=True, **EVERY[case], run_dir=str(folder/"run"))
        (folder/"drew.json").write_text(json.dumps(sorted(drew)))
    return once(tmp_path_factory, f"whole {case}", train)/"run"

def in_two_processes(tmp_path_factory, cases, case):
    "Folder of a case's run in two processes; the same two train all `cases`"
    def train(folder):
        runs = [EVERY[name] | dict(run_dir=str(folder/name/"run")) for name in cases]
        assert forked(runs, nproc=2) == [0, 0]
    return once(tmp_path_factory, "pairs", train)/case/"run"
