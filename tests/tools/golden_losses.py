"""Ten steps of every method on a few digits, in float64, in one process: each step's loss, the network's parameters in
the end, and the last row of metrics.csv, as they were when golden/losses.json was written. test_golden.py compares.

    python tests/tools/golden_losses.py check [name ...]    the same here, with how much is equal to the last bit
    python tests/tools/golden_losses.py write [name ...]    after a deliberate change: run all or these again

Only this is taken for granted: `run_method` with its settings; `known_methods()` and ADDONS, registries by name; that a
method's `step(batch)` returns something with a `loss`; that checkpoint.pt has the trained network's state under "net".
Images of other sizes are resized by code that is not the same on every CPU: no case needs that.
"""
import json, math, os, sys, tempfile
from itertools import product
from pathlib import Path
from unittest import mock

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import pandas as pd
import torch
# all that is taken from the package, here and nowhere else
from noisykit.run import run_method
from noisykit.train.method import ADDONS, known_methods

FILE = Path(__file__).parents[1]/"golden/losses.json"
# 160 samples to train on, 40 in the probe: five steps an epoch
USUAL = dict(dataset="digits", data_options=dict(train_size=200, test_size=100), noise="symmetric", noise_rate=.4,
             probe_size=40, model="cnn", epochs=2, batch_size=32, lr=.05, precision="float64", device="cpu", nproc=1,
             quiet=True)
# so that 160 samples and two epochs show all
OPTIONS = dict(fsr=dict(after=1, queue=50, queue_batch=20), dividemix=dict(warm_up=1),
               coteaching=dict(ramp=2), jocor=dict(ramp=2), forward=dict(T="known"), backward=dict(T="known"))
LOOK_AHEAD = ["l2r", "mixup_hard", "mixup_soft", "proposal", "mlc", "ieg", "fsr", "l2b", "mwnet"]
OTHERS = ["ce", "sln", "elr", "forward", "backward", "sop", "volminnet", "cores", "ssr", "disc", "probe_only",
          "dividemix", "coteaching", "jocor", "supervised", "upper_bound", "ce+mo", "ce+sam", "ce+lc", "ce+pseudo",
          "sln+mo+lc", "l2r+mo+lc"]
TEXT = dict(dataset="text", data_dir="{folder}/text", data_options={}, model="embedding_bag", optimizer="adam", lr=.01)

CASES = {method: dict(method=method) for method in OTHERS}
for method, engine, level in product(LOOK_AHEAD, ("jvp", "higher"), ("all", "last")):
    CASES[f"{method}, {engine}, {level}"] = dict(method=method, engine=engine, meta_level=level)
CASES |= {
    "l2r, adam": dict(method="l2r", optimizer="adam", lr=.001),
    "l2r, adam, higher": dict(method="l2r", optimizer="adam", lr=.001, engine="higher"),
    "l2r, adamw": dict(method="l2r", optimizer="adamw", lr=.001),
    "l2r, nesterov": dict(method="l2r", nesterov=True),
    "l2r, sigmoid, clipped": dict(method="l2r", options=dict(weighting="sigmoid"), grad_clip=.25),
    "l2r, shift": dict(method="l2r", options=dict(weighting="shift")),
    "l2r, probe_batch": dict(method="l2r", probe_batch=10),
    "l2r, frozen batch norm": dict(method="l2r", batch_norm="frozen"),
    "mixup_hard, as written": dict(method="mixup_hard", options=dict(as_written=True)),
    "mixup_hard, mixture": dict(method="mixup_hard", options=dict(gradient="mixture")),
    "proposal, soft": dict(method="proposal", options=dict(labels="soft")),
    "mlc, skip, tie, 2 steps": dict(method="mlc", options=dict(skip=True, tie=True, meta_steps=2)),
    "ieg, randaugment": dict(method="ieg", options=dict(strong="randaugment")),
    "upper_bound, soft": dict(method="upper_bound", options=dict(pseudo_soft=True)),
    "fsr, long tail": dict(method="fsr", data_options=dict(imbalance=4.), probe_size=0, batch_size=128,
                           options=dict(weighting="shift", mixup=False, pseudo_loss=0., smoothing=.1)),
    "fsr, as published": dict(method="fsr", options=dict(as_published=True)),
    "fsr, long tail, as published": dict(method="fsr", data_options=dict(imbalance=4.), probe_size=0, batch_size=128,
                                         options=dict(weighting="shift", mixup=False, pseudo_loss=0., smoothing=.1,
                                                      as_published=True)),
    "dividemix, asymmetric": dict(method="dividemix", noise="asymmetric",
                                  options=dict(confidence_penalty=True, history=2)),
    "gce": dict(method="gce"),
    "gce, truncated": dict(method="gce", options=dict(k=.2, prune_after=1)),
    "sce": dict(method="sce"),
    "apl": dict(method="apl"),
    "apl, nn, l1": dict(method="apl", options=dict(passive="nn", l1=1e-4)),
    "apl, amse": dict(method="apl", options=dict(passive="amse")),
    "gls": dict(method="gls"),
    "bootstrap": dict(method="bootstrap"),
    "bootstrap, hard": dict(method="bootstrap", options=dict(kind="hard")),
    "js": dict(method="js"),
    "gjs": dict(method="gjs"),
    "ce, text": TEXT | dict(method="ce"),
    "mlc, text": TEXT | dict(method="mlc"),
    "l2r, text, higher": TEXT | dict(method="l2r", engine="higher"),
    "ce, dependent noise": dict(method="ce", noise="dependent",
                                noise_options=dict(settings=dict(epochs=2, lr=.05, batch_size=32))),
    "ce, threshold samples": dict(method="ce", threshold=1),
    "ce, validation": dict(method="ce", val_share=.25, val_fold=1),
    "ce, cleanest": dict(method="ce", scores_file="{folder}/scores.csv", remove_ratio=.2),
    "ce, restarts, dynamics": dict(method="ce", schedule=dict(first=1, longer=2, lower=.9), dynamics="evaluation",
                                   keep_probs=True),
}

def prepare(folder):
    "Texts and scores that need no library to be the same everywhere"
    (folder/"text").mkdir()
    words = ["tree", "river", "stone", "cloud", "bird", "fish", "moss", "sand"]
    def about(i): return " ".join([words[(i*k + i//4) % 8] for k in range(1, 4 + i % 5)] + [words[i % 4]]*2)
    table = pd.DataFrame({"text": [about(i) for i in range(280)], "label": ["abcd"[i % 4] for i in range(280)]})
    table[:200].to_csv(folder/"text/train.csv", index=False)
    table[200:].to_csv(folder/"text/test.csv", index=False)
    scores = pd.DataFrame({"index": range(200), "score": [i*37 % 101 for i in range(200)]})
    scores.to_csv(folder/"scores.csv", index=False)

def settings_of(name, folder):
    case = CASES[name]
    options = OPTIONS.get(case["method"], {}) | case.get("options", {})
    settings = {**USUAL, **case, "options": options or None, "run_dir": "{folder}/runs/run"}
    return {k: v.format(folder=folder) if isinstance(v, str) else v for k, v in settings.items()}

def train(name, folder):
    "(run, losses of the steps)"
    cls, losses = known_methods()[first(CASES[name]["method"])], []
    own, threads = cls.step, torch.get_num_threads()
    def step(self, batch):
        out = own(self, batch)
        losses.append(float(out.loss.detach()))
        return out
    torch.set_num_threads(1)
    try:
        with mock.patch.object(cls, "step", step): return run_method(**settings_of(name, folder)), losses
    finally: torch.set_num_threads(threads)

def record(name, folder):
    "What a case gives: losses, parameters (running statistics too), metrics"
    run, losses = train(name, folder)
    state = torch.load(folder/"runs/run/checkpoint.pt", weights_only=True)["net"].values()
    state = torch.cat([v.double().flatten() for v in state if v.is_floating_point()])
    last = {k: v for k, v in run.metrics.iloc[-1].items() if not k.startswith("seconds")}
    metrics = {k: None if math.isnan(v) else float(v) for k, v in last.items()}
    parameters = dict(sum=float(state.sum()), squares=float((state*state).sum()))
    return dict(losses=losses, parameters=parameters, metrics=metrics)

def first(method):
    "The method itself, whose steps are looked at"
    name = method.split("+")[0]
    return {"supervised": "ce", "upper_bound": "l2r"}.get(name, name)

def flat(result):
    "Numbers by name"
    numbers = {f"step {i}": loss for i, loss in enumerate(result["losses"], 1)}
    for part in ("parameters", "metrics"): numbers |= {f"{part} {name}": v for name, v in result[part].items()}
    return numbers

RTOL, RTOL_METRICS = 1e-9, 1e-6   # the record is float32: its means are not those of another CPU beyond that

def differing(old, new, exactly=False):
    "{name: (before, after)} of the numbers that are not equal, to the last bit or as nearly as on another CPU"
    before, after = flat(old), flat(new)
    def same(k):
        x, y = before[k], after[k]
        if exactly or None in (x, y): return x == y
        return abs(x - y) <= (RTOL_METRICS if k.startswith("metrics") else RTOL)*max(abs(x), abs(y))
    names = [k for k in dict.fromkeys([*before, *after]) if k not in before or k not in after or not same(k)]
    return {k: (before.get(k), after.get(k)) for k in names}

def run_one(name):
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder))
        return record(name, Path(folder))

def names_there_are(): return set(known_methods()) | set(ADDONS)

def kept(): return json.loads(FILE.read_text()) if FILE.exists() else {}

def write(names):
    new = kept() | {n: run_one(n) for n in names}
    FILE.write_text(json.dumps({n: new[n] for n in CASES if n in new}, indent=1) + "\n")

def check(names):
    "Exit status"
    golden, failed = kept(), 0
    for name in names:
        found = run_one(name)
        wrong, bits = differing(golden[name], found), differing(golden[name], found, exactly=True)
        failed += bool(wrong)
        verdict = "FAIL" if wrong else "equal"
        print(f"{name}: {verdict}, {len(bits)} of {len(flat(found))} numbers not to the last bit", flush=True)
        for k, (was, now) in wrong.items(): print(f"    {k}: {was} -> {now}")
    return int(failed > 0)

if __name__ == "__main__":
    way, names = sys.argv[1:2], sys.argv[2:] or list(CASES)
    if way == ["write"]: write(names)
    elif way == ["check"]: sys.exit(check(names))
    else: sys.exit(__doc__)
