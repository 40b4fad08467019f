"""What the settings `deterministic` and `compile` do: to torch, to the record, and where they are refused."""
import numpy as np
import pytest
import torch
from torch import nn

from noisykit.errors import Refused
from noisykit.networks import NETWORKS, assemble
from noisykit.numerics import check_compiler
from noisykit.run import run_method
from noisykit.train.trainer import Trainer
from cases import settings

SMALL = settings("ce", epochs=1, batch_norm="local", quiet=True)

@pytest.mark.parametrize("deterministic", [True, False])
def test_deterministic_is_what_torch_computes_by_and_is_recorded(deterministic, tmp_path, monkeypatch):
    seen, own = {}, Trainer.fit
    def fit(self):
        seen.update(deterministic=torch.are_deterministic_algorithms_enabled(), tf32=torch.backends.cudnn.allow_tf32,
                    products=torch.backends.cuda.matmul.allow_tf32, benchmark=torch.backends.cudnn.benchmark)
        return own(self)
    monkeypatch.setattr(Trainer, "fit", fit)
    run = run_method(**SMALL | dict(deterministic=deterministic, run_dir=str(tmp_path/"run")))
    fast = not deterministic
    assert seen == dict(deterministic=deterministic, tf32=fast, products=fast, benchmark=fast)
    assert run.config["deterministic"] is deterministic and run.env["tf32"] is run.env["cudnn_benchmark"] is fast

REFUSED = {"forward-mode": dict(method="l2r", probe_size=40), "synced": dict(batch_norm="synced")}

@pytest.mark.parametrize("why", REFUSED)
def test_compile_is_refused_in_a_sentence(why, tmp_path):
    with pytest.raises(Refused, match=why):
        run_method(**SMALL | REFUSED[why] | dict(compile=True, run_dir=str(tmp_path/"run")))
    assert not (tmp_path/"run").exists()

def test_without_a_compiler_it_is_refused(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ValueError, match="no-such-compiler"): check_compiler("cpu")

def compiled():
    try: check_compiler("cpu")
    except ValueError: return False
    return True

@pytest.mark.skipif(not compiled(), reason="no compiler for C++")
def test_a_compiled_network_gives_the_same_record(tmp_path, monkeypatch):
    "To rounding. The network is small: a compiler takes a minute for a larger one"
    def linear(classes, channels): return assemble(flat=nn.Flatten(), fc=nn.Linear(64*channels, classes))
    monkeypatch.setitem(NETWORKS, "linear", linear)
    again = SMALL | dict(model="linear", data_options=dict(train_size=160, test_size=80), batch_size=80)
    plain = run_method(**again, run_dir=str(tmp_path/"plain"))
    fast = run_method(**again, compile=True, run_dir=str(tmp_path/"fast"))
    for name in plain.fields():
        np.testing.assert_allclose(fast.samples(name), plain.samples(name), rtol=1e-4, atol=1e-6)
    assert fast.config["compile"] and not plain.config["compile"]
