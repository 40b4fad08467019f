"""A training step waits for no device: it reads no value there, and copies nothing there or back in a way that waits.

A step of every method is taken on torch's meta device, whose tensors have shapes but no values, so no GPU is needed.
Around the step two modes see each call of torch and refuse what would make Python wait for a GPU.

Not in a step, and allowed to wait: `check_losses` (every 50 steps, a loss that is no number stops the run) and, where
several processes train on GPUs, `must_stop` (every 10 steps). The record is fetched once in an epoch.
"""
import itertools
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from cases import CASES, METHODS, VARIANTS, settings
from noisykit.assemble import create_start, load_data
from noisykit.data.images import FolderImages, TensorImages
from noisykit.data.texts import Texts
from noisykit.data.views import VIEWS
from noisykit.methods.coteaching import SmallLoss
from noisykit.methods.dividemix import DivideMixBeliefs
from noisykit.methods.ssr import Selection
from noisykit.numerics import numerics, send
from noisykit.processes import world
from noisykit.resolve import resolve
from noisykit.run import run_method
from noisykit.train.method import parse_method
from noisykit.train.trainer import Epoch, Trainer, pictures_for_steps, take_step
from pictures import save_digit
from shared import once

class Waits(AssertionError): "Python would wait for the device"

VALUES = ("_local_scalar_dense", "nonzero", "unique", "masked_select", "bincount", "equal", "is_nonzero")
COPIES = ("_to_copy", "copy_")

def device_of(tensor): return tensor.device.type

def target_of(name, args, kwargs):
    "(tensor that is copied, type of the device it goes to, whether that waits)"
    if name == "copy_": return args[1], device_of(args[0]), not (kwargs.get("non_blocking") or True in args[2:])
    device = kwargs.get("device")
    return args[0], device_of(args[0]) if device is None else torch.device(device).type, not kwargs.get("non_blocking")

class NoWaiting(TorchDispatchMode):
    "Refuses operations that read the device's values, copies that wait, and operations on both sides"
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs, name = kwargs or {}, func.name().removeprefix("aten::").split(".")[0]
        tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
        there = [t for t in tensors if device_of(t) == "meta"]
        if name in COPIES:
            source, target, blocks = target_of(name, args, kwargs)
            if (device_of(source), target) == ("meta", "cpu"): raise Waits("a copy from the device")
            if (device_of(source), target) == ("cpu", "meta") and blocks: raise Waits("a copy there; see `send`")
        elif there:
            if name in VALUES: raise Waits(f"{name} reads values")
            if any(device_of(t) == "cpu" and t.dim() for t in tensors): raise Waits(f"{name} of tensors on both sides")
            if name.startswith("index") and any(t.dtype == torch.bool for t in tree_leaves(args[1:2])
                                                if isinstance(t, torch.Tensor)): raise Waits(f"{name} with a mask")
        return func(*args, **kwargs)

class NoNewValues(TorchFunctionMode):
    "Refuses tensors that are made of Python's numbers on the device, since such a copy waits"
    def __torch_function__(self, func, types, args=(), kwargs=None):
        made = func(*args, **kwargs or {})
        if func in (torch.tensor, torch.as_tensor, torch.Tensor.new_tensor) and device_of(made) == "meta":
            raise Waits("a tensor of Python's numbers; see `new_full`")
        return made

@contextmanager
def no_waiting():
    "Steps here are in float64; torch.autocast does not know the meta device, not even to be switched off"
    with mock.patch.object(torch, "autocast", lambda *args, **kwargs: nullcontext()), NoWaiting(), NoNewValues(): yield

@contextmanager
def two_processes():
    "As if another process did the same: a sum over both is twice the own value"
    fakes = dict(is_initialized=lambda: True, get_world_size=lambda: 2, get_rank=lambda: 0,
                 all_reduce=lambda t: t.mul_(2), broadcast_object_list=lambda *args, **kwargs: None)
    with mock.patch.multiple(torch.distributed, **fakes): yield

def losses_of_nobody(self, *net):
    "Of one network, or of both"
    shape = (len(self.trainer.given),) if net else (2, len(self.trainer.given))
    return np.random.default_rng(0).random(shape)

def choice_of_nobody(self, logits, features):
    return torch.stack([torch.arange(len(logits)) % 10, *torch.ones(2, len(logits), dtype=torch.long)])

@contextmanager
def steps(given, device):
    "Of the second epoch of a run: a function that takes one"
    given = given | dict(batch_size=32, probe_size=given["probe_size"] and 40)
    config, _ = resolve(**given | dict(run_dir="nowhere", nproc=world()))
    options = config.options or {}
    for name in {"warm_up", "after"} & set(options): options[name] = 0
    composition = parse_method(config.method, options)
    with numerics(config.precision), mock.patch.object(DivideMixBeliefs, "spread_losses", losses_of_nobody), \
         mock.patch.object(SmallLoss, "past_losses", losses_of_nobody), \
         mock.patch.object(Selection, "chosen", choice_of_nobody), torch.random.fork_rng():
        data = load_data(config)
        if len(data.probe): data.probe.images = data.probe.images.to(device)
        data.probe.labels = data.probe.labels.to(device)
        net = create_start(config, composition, data)
        trainer = Trainer(replace(config, device=device), None, data, net, quiet=True)
        trainer.epochs_done = 1
        epoch = Epoch(trainer, 2)
        pictures = iter(pictures_for_steps(epoch))
        yield lambda: take_step(epoch, *next(pictures), mock.Mock(to_stop=None))

@pytest.fixture
def ready(tmp_path_factory):
    "Settings of a case, with the run on true labels that it may need"
    clean = settings("ce", noise="none", noise_rate=None, epochs=1, quiet=True)
    def train(folder): run_method(**clean, run_dir=str(folder/"run"))
    def settings_of(case):
        own = (CASES | VARIANTS)[case]
        if own["method"] not in ("ce+pseudo", "upper_bound"): return own
        return own | dict(options=dict(pseudo_run=str(once(tmp_path_factory, "on true labels", train)/"run")))
    return settings_of

@pytest.mark.parametrize("case", [*CASES, *VARIANTS])
def test_a_step_waits_for_no_device(case, ready):
    with steps(ready(case), "meta") as take_one, no_waiting():
        take_one()
        take_one()   # with momentum, and what the method remembers

@pytest.mark.parametrize("case", METHODS)
def test_a_step_of_several_processes_waits_for_no_device(case, ready):
    with two_processes(), steps(ready(case), "meta") as take_one, no_waiting(): take_one()

@pytest.mark.skipif(not torch.cuda.is_available(), reason="a GPU says itself where Python waits for it")
@pytest.mark.parametrize("case", [*CASES, *VARIANTS])
def test_a_step_waits_for_no_gpu(case, ready):
    with steps(ready(case), "cuda") as take_one:
        take_one()   # kernels are loaded
        torch.cuda.set_sync_debug_mode("error")
        try: take_one()
        finally: torch.cuda.set_sync_debug_mode("default")

@pytest.mark.parametrize("views", [None, *itertools.product(VIEWS, VIEWS)])
@pytest.mark.parametrize("kind", ["memory", "files"])
def test_pictures_come_without_waiting(kind, views, tmp_path):
    if kind == "memory": images = TensorImages(torch.zeros(9, 3, 8, 8, dtype=torch.uint8), (.5,)*3, (.5,)*3, 2, True)
    else:
        paths = [tmp_path/f"{i}.png" for i in range(9)]
        for i, path in enumerate(paths): save_digit(path, i)
        images = FolderImages(paths, 8, workers=0)
    batches = images.to("meta").batches([torch.arange(4), torch.arange(4, 9)], (0, 1), views)
    with no_waiting():
        for x in batches: assert {part.shape[1:] for part in (x if views else [x])} == {(3, 8, 8)}

def test_texts_come_without_waiting():
    texts = Texts(torch.zeros(9, 5, dtype=torch.long), 7, np.array(["text"]*9)).to("meta")
    with no_waiting(): assert next(texts.batches([torch.arange(4)])).shape == (4, 5)

WAITING = {
    "item": lambda t: t.sum().item(), "float": lambda t: float(t[0]), "if": lambda t: bool((t > 0).any()),
    "cpu": lambda t: t.cpu(), "to": lambda t: torch.ones(3).to("meta"), "index": lambda t: t[torch.tensor([0])],
    "mask": lambda t: t[t > 0], "set by mask": lambda t: t.__setitem__(t > 0, t), "nonzero": lambda t: t.nonzero(),
    "tensor": lambda t: t.new_tensor(3), "as_tensor": lambda t: torch.as_tensor([1], device="meta")}

@pytest.mark.parametrize("what", WAITING)
def test_waiting_is_seen(what):
    with no_waiting(), pytest.raises((Waits, RuntimeError)): WAITING[what](torch.ones(3, device="meta"))

def test_what_does_not_wait_is_let_through():
    t = torch.ones(3, device="meta")
    with no_waiting(): t[send(torch.tensor([0]), "meta")] = t.new_full((), 2.)*3 + torch.where(t > 0, t, 0.)[0]
