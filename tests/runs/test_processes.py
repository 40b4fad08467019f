"""Several processes: the same numbers as one, errors that reach the caller, workers that die, signals."""
import json, subprocess, sys

import numpy as np
import pytest
import torch
import yaml

import helpers
from conftest import ENV, ROOT, SMALL, papermill
from noisykit.processes import launch
from noisykit.record import Run
from noisykit.errors import Refused
from noisykit.run import run_method
from noisykit.train.method import known_methods

BASE = SMALL | dict(epochs=1, precision="float64", batch_norm="frozen", lr=0.02)
NETS = {"without batch norm": dict(model="lenet"), "batch norm in evaluation mode": dict(), "batch norm synced": dict(batch_norm="synced")}
SEED = dict(float64=0, float32=1)   # in float32 a unit may land within rounding of its ReLU's kink, and the two runs part there (l2r, evaluation mode, seed 0)
PAIRS = {(m, n, p): dict(method=m, precision=p, seed=SEED[p], batch_size=61) | NETS[n] for m in ("ce", "l2r") for n in NETS for p in ("float64", "float32")}   # 61: parts of different size
VARIANTS = {str(kw): dict(method="l2r") | kw for kw in (dict(optimizer="adam", lr=1e-3), dict(grad_clip=0.5), dict(options=dict(weighting="sigmoid", scale="std")), dict(engine="higher"), dict(val_share=0.2))}
OTHERS = {m: dict(method=m) for m in sorted(set(known_methods()) - {"ce", "l2r"})}
OTHERS |= {str(kw): dict(epochs=2) | kw for kw in (dict(method="mixup_soft", options=dict(scale="std")), dict(method="mixup_hard", options=dict(gradient="mixture")), dict(method="proposal+mo", options=dict(labels="soft", scale="std")), dict(method="upper_bound"))}
OTHERS |= {m: dict(method=m, epochs=2, options=dict(lc_after=1, ema_decay=0.9)) for m in ("sln+mo+lc", "l2r+mo+lc")}
QUEUE = dict(queue=60, queue_batch=23, after=0)   # 23: parts of different size
OTHERS |= {str(kw): dict(epochs=2) | kw for kw in (dict(method="mlc", options=dict(meta_steps=2, skip=True, tie=True)), dict(method="l2r", meta_level="last"), dict(method="ieg+mo", meta_level="last", options=dict(strong="randaugment", ema_ramp=True)),
                                                   dict(method="fsr", options=QUEUE), dict(method="fsr", meta_level="all", options=QUEUE | dict(weighting="shift", smoothing=0.1, mixup=False)))}

@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    "(key, processes) -> a run and its final network; all runs of two processes in one launch"
    folder = tmp_path_factory.mktemp("pairs")
    cases = PAIRS | VARIANTS | OTHERS | {"local": dict(method="l2r", options=dict(reduction="local")), "global": dict(method="l2r")}
    settings = {(k, n): BASE | kw | dict(nproc=n, run_dir=str(folder/f"{i}-{n}")) for i, (k, kw) in enumerate(cases.items()) for n in (1, 2)}
    for (_, n), kw in settings.items():
        if n == 1: run_method(quiet=True, **kw) # with upper_bound's clean network, which its run of two processes then finds
    launch(helpers.train_all, [kw for (_, n), kw in settings.items() if n == 2], nproc=2)
    return {k: (Run(kw["run_dir"]), network(torch.load(f"{kw['run_dir']}/checkpoint.pt", weights_only=True))) for k, kw in settings.items()}

def network(state):
    "Its values, and those of its average"
    return state["net"] | {f"ema.{k}": v for p in state["parts"] for k, v in p.items() if k in state["net"]}

def differ(a, b): return max(float((a[k].double() - b[k].double()).norm()/b[k].double().norm()) for k in b if b[k].is_floating_point() and b[k].norm())

# ---- two processes are one

@pytest.mark.parametrize("key", PAIRS, ids=lambda k: ", ".join(k))
def test_two_processes_are_one(trained, key):
    (one, a), (two, b) = trained[key, 1], trained[key, 2]
    double = key[2] == "float64"
    assert differ(b, a) < (1e-10 if double else 1e-4)
    assert (one.samples("prediction") == two.samples("prediction")).mean() > (0.99999 if double else 0.999)
    for name in ("loss", "weight") if key[0] == "l2r" else ("loss",):
        assert np.allclose(one.samples(name), two.samples(name), rtol=1e-3, atol=1e-6 if double else 1e-3), name
    assert two.metrics.test_accuracy.iloc[-1] == pytest.approx(one.metrics.test_accuracy.iloc[-1], abs=0 if double else 0.01)
    assert two.metrics.objective.iloc[-1] == pytest.approx(one.metrics.objective.iloc[-1], rel=1e-6 if double else 1e-3)

@pytest.mark.parametrize("key", [*VARIANTS, *OTHERS])
def test_so_in_every_variant_and_method(trained, key): assert differ(trained[key, 2][1], trained[key, 1][1]) < 1e-10

def test_the_average_and_the_targets_are_one(trained):
    (one, a), (two, _) = trained["sln+mo+lc", 1], trained["sln+mo+lc", 2]
    assert any(k.startswith("ema.") for k in a) and np.allclose(one.samples("target_prob", 2), two.samples("target_prob", 2), atol=1e-6)
    for final in ("final", "final_ema"): assert np.allclose(one.samples("loss", final), two.samples("loss", final), atol=1e-5)
    assert one.metrics.test_accuracy_ema.tolist() == pytest.approx(two.metrics.test_accuracy_ema.tolist(), abs=0)

def test_what_is_kept_of_each_sample_is_one(trained):
    key = next(k for k in OTHERS if "proposal+mo" in k)
    (one, _), (two, _) = trained[key, 1], trained[key, 2]
    for name in ("beta", "weight", "target_prob", "loss"): assert np.allclose(one.samples(name), two.samples(name), atol=1e-5), name
    kept = [torch.load(r.folder/"checkpoint.pt", weights_only=True)["parts"][0] for r in (one, two)]
    assert set(kept[0]) == {"beta", "label", "weight"} and all(torch.allclose(kept[0][k], kept[1][k], atol=1e-8) for k in kept[0])

def test_the_local_form_is_something_else(trained):
    "Its weights sum to 1 in every process, and it ends elsewhere; in one process it is the same thing"
    (local, b), (_, a) = trained["local", 2], trained["global", 2]
    assert differ(b, a) > 1e-3 and local.samples("weight").mean() == pytest.approx(1, abs=0.01)
    assert differ(trained["local", 1][1], trained["global", 1][1]) == 0

def test_nothing_is_lost_or_counted_twice(tmp_path):
    "Odd sizes everywhere; per-rank batch norm: the record holds every sample once, the metrics follow from it"
    run = run_method(run_dir=str(tmp_path/"r"), quiet=True, **SMALL | dict(method="ce", nproc=3, batch_size=50, data_options=dict(train_size=1001)))
    assert not np.isnan(run.samples("loss")).any() and run.samples("loss").shape == (2, len(run.labels))
    last = run.metrics.iloc[-1]
    assert run.samples("loss", -1).mean() == pytest.approx(last.train_loss, rel=1e-5)
    assert (run.samples("prediction", -1) == run.labels.given).mean() == pytest.approx(last.train_accuracy)
    assert round(last.test_accuracy*360) == pytest.approx(last.test_accuracy*360, abs=1e-4) and 0 < last.seconds_in_sums < last.seconds

# ---- through papermill

def test_papermill_on_two_processes(tmp_path):
    done = papermill("run_method", tmp_path/"out.ipynb", method="l2r", nproc=2, run_dir=tmp_path/"run", **SMALL)
    assert done.returncode == 0, done.stderr[-3000:]
    text = "".join("".join(o.get("text", "")) for c in json.loads((tmp_path/"out.ipynb").read_text())["cells"] for o in c.get("outputs", []))
    assert "on 2 x cpu" in text and text.count("epoch 2/2") == 1 and "Warning" not in text   # rank 0's progress, once
    run = Run(tmp_path/"run")
    assert len(run.metrics) == 2 and run.config["nproc"] == 2 and {p.stem for p in (tmp_path/"run/figures").glob("*.png")} >= {"weights", "learning_curves"}

def test_an_error_in_a_child_is_the_run_s_error(tmp_path):
    done = papermill("run_method", tmp_path/"out.ipynb", method="ce", nproc=2, run_dir=tmp_path/"run", **SMALL | dict(lr=1e30))
    assert done.returncode != 0
    assert done.stderr.strip().splitlines()[-1].startswith("FloatingPointError: the loss is") and "training stopped" in done.stderr

@pytest.mark.parametrize("kw, sentence", [(dict(nproc=0), "nproc must be a number of at least 1; got 0"), (dict(nproc=40, batch_size=32), "nproc 40 leaves processes without samples: a batch has 31"),
                                          (dict(nproc=60, method="l2r"), "nproc 60 leaves processes without samples: a probe batch has 50"), (dict(batch_norm="sync"), "unknown batch_norm 'sync'; did you mean 'synced'?"),
                                          (dict(batch_norm="synced", engine="higher"), "cannot differentiate synced batch norm twice"), (dict(restarts=-1), "restarts must be a number of at least 0")], ids=str)
def test_bad_input(tmp_path, kw, sentence):
    with pytest.raises(Refused, match=sentence.replace("?", r"\?")): run_method(run_dir=str(tmp_path/"run"), **SMALL | kw)
    assert not (tmp_path/"run").exists()

# ---- torchrun, two machines

def test_two_agents_of_torchrun(tmp_path):
    "Two launchers on the loopback address, two processes each, as two machines would: one run of four processes"
    kw = SMALL | dict(method="l2r", batch_norm="synced", precision="float64", epochs=1, lr=0.02)
    (tmp_path/"run.yaml").write_text(yaml.safe_dump(kw | dict(run_dir=str(tmp_path/"run"))))
    words = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "2", "--rdzv-backend", "c10d", "--rdzv-id", "noisykit",
             "--rdzv-endpoint", f"localhost:{free_port()}", "--local-addr", "localhost", "-m", "noisykit", str(tmp_path/"run.yaml")]
    agents = [subprocess.Popen(words, cwd=ROOT, env=ENV, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [a.communicate(timeout=300) for a in agents]
    assert [a.returncode for a in agents] == [0, 0], said
    assert sum(out.count("epoch 1/1") for out, _ in said) == 1 and "on 4 x cpu" in said[0][0] + said[1][0]
    run_method(run_dir=str(tmp_path/"one"), quiet=True, **kw)
    four, one = (torch.load(tmp_path/n/"checkpoint.pt", weights_only=True)["net"] for n in ("run", "one"))
    assert differ(four, one) < 1e-10
    assert Run(tmp_path/"run").config["nproc"] == 4

def free_port():
    import socket
    with socket.socket() as s: s.bind(("localhost", 0)); return s.getsockname()[1]
