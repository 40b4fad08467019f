"""What every method keeps, whoever adds one: it trains and fills the record, goes on after a stop to the same bits,
trains in bfloat16, looks ahead without moving anything, and answers a wrong option in a sentence. That several
processes are one: test_two_processes.py. The cases come from the registries: a new method is among them without a line
here."""
import copy
import json
import random
from dataclasses import fields
from functools import partial
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import torch

from cases import CASES, COMBINED, EPOCHS, EVERY, METHODS, VARIANTS, in_one_process, method_of, settings
from conftest import ROOT
from noisykit.data.views import VIEWS
from draws import global_draws
from noisykit.errors import Refused
from noisykit.evaluation import evaluate_run
from noisykit.processes import Stopped
from noisykit.record import NETWORK_FIELDS, Run
from noisykit.run import run_method
from noisykit.streams import torch_stream
from noisykit.train import metagrad
from noisykit.train.metagrad import Passes
from noisykit.train.method import ADDONS, AddOn, expanded, known_methods, parse_method
from noisykit.train.trainer import Trainer
from shared import arrays, assert_same_run, checkpoint, distances, one_thread, told_to_stop, unequal

every_case = pytest.mark.parametrize("case", CASES)

@pytest.fixture(autouse=True)
def _one_thread():
    with one_thread(): yield

@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    "case -> folder of its uninterrupted run in one process"
    return partial(in_one_process, tmp_path_factory)

@every_case
def test_it_trains_and_fills_the_record(case, whole):
    run = Run(whole(case))
    metrics, samples = run.metrics, len(run.labels)
    assert run.finished and metrics.epoch.tolist() == [*range(1, EPOCHS + 1)]
    assert metrics.train_loss_clean.iloc[-1] < metrics.train_loss_clean.iloc[0] # that of wrong labels need not fall
    for epoch in metrics.epoch:
        for name in run.fields(epoch):
            values = run.samples(name, epoch)
            assert values.shape == (samples,) and np.isfinite(values).all(), (name, epoch)
    own = set(run.fields()) - NETWORK_FIELDS
    columns = {"objective", "train_loss", "train_accuracy", "test_loss", "test_accuracy"}
    assert columns | {f"{name}_{group}" for name in own for group in ("clean", "flipped")} <= set(metrics)
    assert np.isfinite(metrics.iloc[-1].to_numpy(float)).all()
    usual = metrics.get("mean_weight", pd.Series(1, metrics.index))   # who does not normalise its weights says so
    if "weight" in own: assert run.samples("weight").mean(1) == pytest.approx(usual.to_numpy(), abs=.05)

@every_case
def test_it_draws_from_streams_of_its_own(case, whole):
    "No hook moves a global generator: what it draws or creates does not depend on what was drawn before"
    assert json.loads((whole(case).parent/"drew.json").read_text()) == []

def test_who_draws_from_a_global_generator_is_seen():
    class Careless(AddOn):
        def __init__(self): self.layer = torch.nn.Linear(2, 2)
        def begin_epoch(self, epoch): torch_stream(0, "order").seed()
        def step(self, batch): return np.random.random() + random.random()
    with global_draws(Careless) as drew:
        careless = Careless()
        careless.begin_epoch(1)
        careless.step(None)
    assert drew == {("torch", "Careless.__init__"), ("numpy", "Careless.step"), ("random", "Careless.step")}

@every_case
def test_its_networks_are_saved(case, whole):
    run = Run(whole(case))
    table = evaluate_run(run.folder, device="cpu")
    columns = [c for c in run.metrics if c.startswith("test_accuracy")]
    assert len(table) == len(columns)
    assert sorted(table.accuracy) == sorted(run.metrics[columns].iloc[-1])

# (epoch, step) after which a run is told to stop. DivideMix's second network takes its turn after the first one's steps
STOPS = [(case, 2, 2) for case in [*CASES, *VARIANTS]] + [("sln+mo+lc, corrected", EPOCHS, 3)]
STOPS += [("dividemix, averaged losses", epoch, step) for epoch, step in ((1, 1), (1, 4), (2, 5))]

@pytest.mark.parametrize("case, epoch, step", STOPS)
def test_it_goes_on_to_the_same_bits(case, epoch, step, whole, tmp_path):
    "Told to stop in the middle of an epoch, then asked again"
    folder = tmp_path/"run"
    again = EVERY[case] | dict(run_dir=str(folder))
    with told_to_stop(method_of(again["method"]), folder, epoch, step), pytest.raises(Stopped):
        run_method(quiet=True, **again)
    assert len(checkpoint(folder)["middle"]["losses"]) == step + 1
    run_method(quiet=True, **again)
    assert_same_run(folder, whole(case))

@every_case
def test_it_trains_in_bfloat16(case, whole, tmp_path):
    "And its first epoch is nearly that of float64 (most methods within 3 %; IEG, which sharpens, 11 %)"
    run = run_method(quiet=True, **CASES[case] | dict(precision="bfloat16", epochs=2, run_dir=str(tmp_path/"run")))
    assert "loss" in run.fields()
    for name in run.fields(): assert np.isfinite(run.samples(name, -1)).all(), name
    assert run.metrics.train_loss_clean.iloc[-1] < run.metrics.train_loss_clean.iloc[0]
    assert run.metrics.test_loss.notna().all()
    exact = Run(whole(case)).metrics
    assert run.metrics.train_loss.iloc[0] == pytest.approx(exact.train_loss.iloc[0], rel=.15)

looking_ahead = pytest.mark.parametrize(
    "case", [case for case in CASES if method_of(CASES[case]["method"]).looks_ahead])

@looking_ahead
def test_looking_ahead_moves_nothing_and_is_exact(case, tmp_path):
    "The meta-gradient is the slope of the probe's loss, by finite differences, and all is left as it was"
    own, seen = Trainer.look_ahead, []
    def state(trainer):
        nets = {k: net.state_dict() for k, net in trainer.networks.items()}
        return copy.deepcopy(dict(nets=nets, opt=trainer.opt.state_dict(), modes=trainer.net.training))
    def look(self, inner, phi, probe=None, g=None, reduction="global", **how):
        for x in self.passes.expected: self.passes(x) # the step's own pass, which a look-ahead may make for it
        probe, before = probe or self.probe(), state(self)
        found = own(self, inner, phi, probe, g, reduction, **how)
        assert unequal(state(self), before) == []
        def at(phi): return own(self, inner, phi, probe, None, reduction, **how)
        if self.steps in (1, 9): seen.append(slopes(at, phi, found))
        return found
    with mock.patch.object(Trainer, "look_ahead", look):
        run_method(quiet=True, **CASES[case] | dict(epochs=2, run_dir=str(tmp_path/"run")))
    assert len(seen) >= 2
    for along, difference in seen: assert along == pytest.approx(difference, rel=1e-4)

def no_rule(*_): raise NotImplementedError

APART = {"a pass of its own": mock.patch.object(Passes, "__contains__", lambda passes, x: False),
         "a pass in forward mode": mock.patch.object(metagrad, "tangent", no_rule)}

@looking_ahead
def test_sharing_the_forward_pass_changes_nothing(case, tmp_path):
    "Weights, targets, network, running statistics and optimizer are those of a look-ahead with a pass for itself"
    few = CASES[case] | dict(quiet=True, epochs=1)
    shared = run_method(**few, run_dir=str(tmp_path/"shared")).folder
    for name, apart in APART.items():
        with apart: alone = run_method(**few, run_dir=str(tmp_path/name)).folder
        far = distances(checkpoint(alone), checkpoint(shared))
        assert {k: v for k, v in far.items() if v > 1e-10} == {}, name
        a, b = arrays(alone), arrays(shared)
        assert a.keys() == b.keys() and all(np.allclose(a[k], b[k], atol=1e-6) for k in a), name

def slopes(look, phi, found, h=1e-6):
    "Slope of the outer loss along the meta-gradient: as the method was told, and as differences say"
    size = sum((g*g).sum() for g in found.grads).sqrt()
    directions = [g/size for g in found.grads]
    def outer(h): return look([(p.detach() + h*d).requires_grad_() for p, d in zip(phi, directions)]).outer
    return float(size), float((outer(h) - outer(-h))/(2*h))

REPEATABLE = [name for name in METHODS if known_methods()[name].repeatable]

@pytest.mark.parametrize("name", REPEATABLE)
def test_a_step_taken_twice_in_one_place_is_one_step(name, tmp_path):
    "SAM that goes no way uphill changes no bit: what is remembered, drawn and recorded is of the first pass"
    plain, twice = tmp_path/"plain", tmp_path/"twice"
    few = settings(name, epochs=1, quiet=True)
    run_method(**few, run_dir=str(plain))
    run_method(**few | dict(method=f"{name}+sam", options=(few["options"] or {}) | dict(rho=0.)),
               run_dir=str(twice))
    one, other = checkpoint(plain), checkpoint(twice)
    assert unequal([one["net"], one["opt"], one["parts"][0]], [other["net"], other["opt"], other["parts"][0]]) == []
    a, b = arrays(plain), arrays(twice)
    assert a.keys() == b.keys() and all(np.array_equal(a[place], b[place], equal_nan=True) for place in a)

@pytest.mark.parametrize("name", sorted({*METHODS} - {*REPEATABLE}))
def test_a_step_that_may_not_be_taken_twice_is_refused(name):
    with pytest.raises(ValueError, match="which may be taken only once; sam takes each step twice"):
        parse_method(f"{name}+sam")

def options(name):
    "(option, its type) of a method and its add-ons"
    known = known_methods() | ADDONS
    return [(f.name, f.type) for part in expanded(name) for f in fields(known[part].Options)]

@pytest.mark.parametrize("name", [*METHODS, *sorted(ADDONS)])
def test_it_says_what_it_assumes_and_costs(name):
    "For the table of all methods, and on its page"
    cls = (known_methods() | ADDONS)[name]
    assert cls.paper and cls.passes >= 0 and set(cls.views) <= set(VIEWS)
    page = (ROOT/f"nbs/methods/{cls.__module__.split('.')[-1]}.ipynb").read_text()
    assert "**Needs:**" in page and "**Costs:**" in page
    if "," in cls.paper: assert cls.paper in page

@pytest.mark.parametrize("name", [*METHODS, *COMBINED])
def test_a_wrong_option_is_refused_in_a_sentence(name, tmp_path):
    wrong = [("no_such_option", 1), *((option, {}) for option, _ in options(name))]
    for option, value in wrong:
        with pytest.raises(Refused, match=option) as e:
            run_method(quiet=True, **settings(name) | dict(options={option: value}, run_dir=str(tmp_path/"run")))
        assert "\n" not in str(e.value) and not (tmp_path/"run").exists()
