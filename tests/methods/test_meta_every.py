"""`meta_every`: fewer meta steps, where what a meta step teaches lasts; refused elsewhere."""
import re
from dataclasses import replace

import pytest
import torch

from noisykit.costs import method_config, one_epoch, random_data, same_values, timed_trainer, trained
from noisykit.resolve import resolve
from noisykit.train.trainer import Trainer

TINY = dict(dataset="digits", model="cnn", batch_size=16, probe_size=20, device="cpu")

def config_of(name, **settings): return method_config(name, **TINY | settings)

def data(config): return random_data(config, 20 + 7*16, (1, 8, 8))   # seven steps an epoch

def meta_steps(config, monkeypatch):
    "The steps of two epochs in which the trainer looked ahead"
    trainer, seen, look_ahead = timed_trainer(config, data(config)), [], Trainer.look_ahead
    def watched(self, *args, **how):
        seen.append(self.steps)
        return look_ahead(self, *args, **how)
    monkeypatch.setattr(Trainer, "look_ahead", watched)
    for _ in range(2): one_epoch(trainer)
    return seen

@pytest.mark.parametrize("method", ["mlc", "mixup_hard", "mixup_soft", "proposal", "mlc @ last"])
@pytest.mark.parametrize("every", [1, 3])
def test_only_every_kth_step_looks_ahead(method, every, monkeypatch):
    assert meta_steps(config_of(method, meta_every=every), monkeypatch) == list(range(0, 14, every))

def test_a_long_wait_is_no_meta_step_but_the_first():
    "After it the corrector stays as it is, and each sample keeps its share"
    config = config_of("mlc", meta_every=1000)
    trainer = timed_trainer(config, data(config))
    one_epoch(trainer)
    before = {name: p.clone() for name, p in trainer.method.corrector.net.state_dict().items()}
    one_epoch(trainer)
    assert all(p.equal(before[name]) for name, p in trainer.method.corrector.net.state_dict().items())
    config = config_of("mixup_hard", meta_every=1000)
    values = trained(config, data(config))
    assert (torch.tensor(values["beta"]) != .5).sum() == 16   # the samples of the first step

@pytest.mark.parametrize("steps, moves", [(1, [0, 2, 4, 6]), (2, [2, 6])])
def test_k_counts_meta_steps(steps, moves, monkeypatch):
    "MLC's network moves after every `meta_steps`-th meta step, however rare these are"
    config = config_of("mlc", meta_every=2, options=dict(meta_steps=steps))
    trainer, moved = timed_trainer(config, data(config)), []
    monkeypatch.setattr(trainer.method.corrector, "step", lambda: moved.append(trainer.steps))
    one_epoch(trainer)
    assert moved == moves

def test_proposal_learns_both_in_turn():
    "With every second step, too, shares and weights are both learned"
    config = config_of("proposal", meta_every=2, options=dict(scale="std"))
    trainer = timed_trainer(config, data(config))
    one_epoch(trainer)
    assert all(len(trainer.method.memory[name].values.unique()) > 20 for name in ("beta", "weight"))

def test_one_is_the_default():
    config = config_of("mlc")
    assert config.meta_every == 1
    few = data(config)
    assert same_values(trained(config, few), trained(replace(config, meta_every=1), few))
    assert not same_values(trained(config, few), trained(replace(config, meta_every=2), few))

@pytest.mark.parametrize("method, sentence", [
    ("l2r", "meta_every must be 1 with method 'l2r': what it learns in a meta step holds for the samples of that batch "
            "alone"),
    ("ieg+mo", "must be 1 with method 'ieg+mo'"), ("fsr", "must be 1 with method 'fsr'"),
    ("ce", "meta_every has no meaning with method 'ce', which does not look ahead"),
    ("sln+mo+lc", "has no meaning with method 'sln+mo+lc'")])
def test_refused(method, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)): resolve(method=method, meta_every=2, device="cpu")
