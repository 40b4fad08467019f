"""What the published codes do, number by number: networks, weight decay, initial values, FSR's and IEG's details, and
what the studies' files say. Whole runs in this process, of a few steps."""
import re
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from noisykit.data.noise import make_noise
from noisykit.detection.lstm import LSTM
from noisykit.methods.fsr import FSR
from noisykit.methods.mlc import LabelCorrection
from noisykit.methods.semi import logit_norm
from noisykit.networks import create_network, num_params
from noisykit.record import Memory
from noisykit.resolve import resolve
from noisykit.run import run_method
from noisykit.train.metagrad import Passes, meta_grad, weigh
from noisykit.train.method import Batch
from noisykit.train.optim import create_optimizer, decay_groups

ROOT = Path(__file__).parents[2]
DIGITS = dict(dataset="digits", probe_size=0, model="cnn", precision="float64", device="cpu", quiet=True)

# networks

@pytest.mark.parametrize("name, classes, parameters", [
    ("resnet29", 10, 840_730), ("resnet29", 100, 863_860), ("preact_resnet18", 10, 11_171_274)])
def test_parameters_are_as_many_as_in_the_published_code(name, classes, parameters):
    with torch.device("meta"): assert num_params(create_network(name, classes)) == parameters

def test_resnet29_has_iegs_widths_steps_and_shortcuts():
    net = create_network("resnet29", 10)
    seen = []
    for block in net.stages: block.register_forward_hook(lambda _, x, y: seen.append((x[0].shape[-1], *y.shape[1:3])))
    net(torch.zeros(2, 3, 32, 32))
    assert seen == 3*[(32, 64, 32)] + [(32, 128, 16)] + 2*[(16, 128, 16)] + [(16, 256, 8)] + 2*[(8, 256, 8)]
    convs = [[(m.in_channels, m.out_channels, m.kernel_size[0], m.stride[0]) for m in block.body.modules()
              if isinstance(m, nn.Conv2d)] for block in net.stages]
    assert convs[0] == [(16, 16, 1, 1), (16, 16, 3, 1), (16, 64, 1, 1)]
    assert convs[3] == [(64, 64, 1, 2), (64, 64, 3, 1), (64, 128, 1, 1)] # the first convolution takes the step
    assert convs[6] == [(128, 128, 1, 2), (128, 128, 3, 1), (128, 256, 1, 1)]
    x = torch.rand(2, 64, 8, 8)
    nn.init.zeros_(net.stages[3].body[-1].weight) # silences the body: the shortcut of the raw input is left
    assert torch.equal(net.stages[3](x), F.conv2d(x, net.stages[3].skip.weight, stride=2))

def test_dividemix_network_has_no_last_norm_and_normed_shortcuts():
    net = create_network("preact_resnet18", 10)
    assert [name for name, _ in net.named_children()] == ["conv1", "norm", "stages", "pool", "fc"]
    block, x = net.stages[1].eval(), torch.randn(2, 64, 8, 8)
    nn.init.zeros_(block.body[-1].weight)
    assert torch.equal(block(x), block.norm(x)) and not torch.equal(block(x), x)

def test_weight_decay_of_resnet29_leaves_out_norms_and_biases():
    config, _ = resolve(method="ieg", dataset="cifar10", model="resnet29", device="cpu")
    net = create_network("resnet29", 10)
    opt = create_optimizer(decay_groups(net), "sgd", .1, weight_decay=config.weight_decay)
    decay = {id(p): group["weight_decay"] for group in opt.param_groups for p in group["params"]}
    for p in net.parameters(): p.grad = torch.zeros_like(p)
    for name, p in net.named_parameters(): assert decay[id(p)] == (2e-4 if p.dim() > 1 else 0.), name
    before = net.fc.weight.detach().clone()
    opt.step() # the gradient of 1e-4 of the sum of squares
    assert torch.allclose(net.fc.weight, before*(1 - .1*2*1e-4), rtol=1e-6)
    assert len(decay_groups(create_network("cnn", 10))) == 1

@pytest.mark.parametrize("level", ["all", "last"])
def test_the_meta_gradient_knows_two_groups(level):
    torch.manual_seed(0)
    net = create_network("resnet29", 3, 1).double()
    opt = create_optimizer(decay_groups(net), "sgd", .1, momentum=.9, weight_decay=2e-4)
    x, y = torch.randn(6, 1, 8, 8).double(), torch.randint(3, (6,))
    F.cross_entropy(net(x), y).backward()
    opt.step()
    eps = torch.full((6,), 1/6, dtype=torch.double, requires_grad=True)
    def inner(f, eps): return (eps*F.cross_entropy(f(x), y, reduction="none")).sum()
    def outer(f): return F.cross_entropy(f(x.flip(0)), y)
    jvp, higher = (meta_grad(net, opt, inner, outer, [eps], engine=e, level=level).grads[0] for e in ("jvp", "higher"))
    assert (jvp - higher).abs().max() < 1e-10*higher.abs().max()

# initial values

def test_mlc_starts_as_its_code():
    torch.manual_seed(0)
    net = LabelCorrection(64, 10)
    uniform = (6/(128 + 10))**.5 # the bound of Xavier's uniform
    assert net.embed.weight.abs().max() <= uniform
    for layer in net.hidden[0], net.hidden[2], net.out: # normal: some are beyond the uniform's bound
        std = (2/(layer.in_features + layer.out_features))**.5
        assert layer.weight.abs().max() > 3**.5*std and layer.weight.std().item() == pytest.approx(std, rel=.1)
        assert not layer.bias.any()
    assert "out.bias" not in dict(LabelCorrection(64, 10, tie=True).named_parameters())

def test_the_detectors_last_layer_starts_as_torchs():
    net = LSTM(torch.Generator().manual_seed(0))
    assert all((p == .01).all() for name, p in net.lstm.named_parameters() if "bias" in name)
    assert all(0 < p.abs().max() <= 1/8 and p.std() > .01 for p in net.fc.parameters())

# FSR and IEG

def test_weights_are_divided_by_a_little_more_than_their_sum():
    useful = torch.tensor([3e-5, -1e-5, 1e-5, 0.])
    assert torch.allclose(weigh(useful, added=1e-5), torch.tensor([.6, 0, .2, 0]))
    assert torch.allclose(weigh(useful, "shift", added=1e-5), (useful + 1e-5 + 1/4)/(7e-5 + 1 + 1e-5))
    assert weigh(useful).sum() == pytest.approx(1)

@pytest.mark.parametrize("kw", [dict(method="ieg", probe_size=20),
                                dict(method="fsr", options=dict(queue=50, queue_batch=20, after=0, as_published=True))],
                         ids=lambda kw: kw["method"])
def test_ieg_and_published_fsr_divide_so(tmp_path, kw):
    with mock.patch(f"noisykit.methods.{kw['method']}.weigh", wraps=weigh) as asked:
        run_method(**DIGITS | dict(data_options=dict(train_size=100), epochs=1, run_dir=tmp_path/"run") | kw)
    assert asked.call_count and all(call.kwargs["added"] == 1e-5 for call in asked.mock_calls)

def first_step(folder, **options):
    "(loss, logits [B, C], given labels [B]) of the first step of FSR where nothing is mixed"
    seen, step = [], FSR.step
    def noted(self, batch):
        found = step(self, batch)
        seen.append((found.loss.detach(), found.logits.detach(), batch.y))
        return found
    options = dict(queue=50, queue_batch=20, after=1, mixup=False, pseudo_loss=0., smoothing=.1) | options
    with mock.patch.object(FSR, "step", noted):
        run_method(**DIGITS | dict(method="fsr", noise="none", epochs=2, batch_size=128, run_dir=folder,
                                   options=options, data_options=dict(train_size=100)))
    return seen[0]

@pytest.mark.parametrize("way, smoothing", [(True, .1), (False, 0.)])
def test_fsr_smooths_the_training_loss_too_where_nothing_is_mixed(tmp_path, way, smoothing):
    loss, logits, y = first_step(tmp_path/"run", as_published=way)
    assert loss.item() == pytest.approx(F.cross_entropy(logits, y, label_smoothing=smoothing).item(), rel=1e-12)

@pytest.mark.parametrize("way", [True, False])
def test_fsrs_queue_and_batch_share_their_statistics(way):
    "After a look-ahead step of rate 0: both losses are those of the network as it is, with one batch norm or two"
    torch.manual_seed(0)
    net = create_network("cnn", 3, 1).double().train()
    clean = Batch(torch.arange(4), torch.randn(4, 1, 8, 8).double(), torch.tensor([0, 1, 2, 0]), 1, 4)
    batch = Batch(torch.arange(6), torch.randn(6, 1, 8, 8).double(), torch.randint(3, (6,)), 1, 6)
    opt = create_optimizer(net.parameters(), "sgd", .1)
    passes = Passes(net)
    def look_ahead(inner, phi, probe, lr):
        def outer(f): return F.cross_entropy(f(probe.x), probe.y, reduction="sum")/probe.size
        return meta_grad(net, opt, inner, outer, phi, level="last", lr=1e-300, passes=passes)
    fsr = object.__new__(FSR)
    fsr.options = FSR.Options(as_published=way)
    fsr.queue = mock.Mock(draw=lambda size, smoothing: clean)
    fsr.trainer = mock.Mock(look_ahead=mock.Mock(wraps=look_ahead), opt=opt)
    y = F.one_hot(batch.y, 3).double()
    before = F.cross_entropy(passes(batch.x), y, reduction="none").detach()
    _, margin = fsr.look(batch, batch.x, y, before)
    after = net(torch.cat([clean.x, batch.x]))[4:] if way else net(batch.x)
    assert torch.allclose(before - margin, F.cross_entropy(after, batch.y, reduction="none"))
    probe = fsr.trainer.look_ahead.call_args.args[2]
    alone = net(torch.cat([clean.x, batch.x]))[:4] if way else net(clean.x)
    found = F.cross_entropy(net(probe.x), probe.y, reduction="sum")/probe.size
    assert torch.allclose(found, F.cross_entropy(alone, clean.y))

@pytest.mark.parametrize("way", [True, False])
def test_fsrs_earlier_predictions(way):
    z, logits = torch.randn(4, 3).double()*5, torch.randn(4, 3).double()
    fsr = object.__new__(FSR)
    fsr.options, fsr.memory, fsr.equal = FSR.Options(as_published=way), dict(logits=Memory(z.clone())), 0
    loss = fsr.pseudo_loss(Batch(torch.arange(4), None, None, 1, 4), logits)
    kept = fsr.memory["logits"][torch.arange(4)]
    assert torch.allclose(kept, .1*(logit_norm(z) if way else z) + .9*logits)
    assert torch.allclose(loss, 2*F.cross_entropy(logits, logit_norm(z).softmax(1)))

# what the studies' files say

TAIL = dict(data_options=dict(imbalance=50))
STUDIES = [
    (dict(method="fsr", dataset="cifar10"), dict(after=20, as_published=True)),
    (dict(method="fsr", dataset="webvision"), dict(after=20, as_published=True, queue=5000, pseudo_loss=1.)),
    (dict(method="fsr", dataset="cifar10", study="fsr_tail") | TAIL, dict(after=160, as_published=True, smoothing=.1)),
    (dict(method="fsr", dataset="cifar10", study="fsr_tail_noise") | TAIL, dict(as_published=True, smoothing=.1)),
    (dict(method="fsr", dataset="digits"), dict(after=None, as_published=False)),
    (dict(method="l2r", dataset="cifar10"), dict(noise="uniform", noise_rate=.4)),
    (dict(method="ce", dataset="cifar100", study="l2r"), dict(noise="uniform")),
    (dict(method="ieg", dataset="webvision"), dict(weight_decay=4e-4)),
    (dict(method="ieg", dataset="cifar10"), dict(weight_decay=5e-4)),
    (dict(method="ce", dataset="webvision50", study="td_retrain"), dict(schedule=dict(milestones=[99, 201], gamma=.1))),
    (dict(method="ce", dataset="cifar10", study="td_retrain"), dict(schedule=dict(milestones=[150], gamma=.1))),
]

@pytest.mark.parametrize("asked, values", STUDIES, ids=str)
def test_settings(asked, values):
    config, _ = resolve(device="cpu", **asked)
    found = vars(config) | (config.options or {})
    assert {name: found[name] for name in values} == values

def test_l2rs_noise_leaves_some_labels_right():
    true = np.arange(50_000) % 10
    config, _ = resolve(method="l2r", dataset="cifar10", device="cpu")
    given = make_noise(true, 10, config.noise, config.noise_rate, seed=0).given
    assert (given != true).mean() == pytest.approx(.36, abs=.01)

def test_retraining_takes_smaller_batches():
    "int(256*(1 - remove_ratio)), in every command that is printed"
    pages = [ROOT/"nbs/findings/wrong_labels.ipynb", ROOT/"nbs/studies/training_dynamics.ipynb"]
    commands = [line for page in pages for line in page.read_text().splitlines()
                if "papermill" in line and "-p study td_retrain" in line]
    assert len(commands) > 12
    for line in commands:
        ratio, batch = (re.search(rf"-p {name} ([\d.]+)", line) for name in ("remove_ratio", "batch_size"))
        assert batch and int(batch[1]) == int(256*(1 - float(ratio[1]))), line

# sentences that were wrong, or that were missing

@pytest.mark.parametrize("page, said", [
    ("methods/fsr", "the logits are those of the mixed pictures"), ("methods/fsr", "its code has 20"),
    ("methods/label_mixing", r"In the study's code $\\beta$ starts at 1"),
    ("methods/upper_bound", "The study's script weighs a sample by its given label"),
    ("studies/isic", "by the given ones in the study's script"),
    ("studies/l2r", "never draws the last class"), ("studies/mlc", "He's normal in the last layer"),
    ("ground/networks", "starts as torch starts a linear layer"),
    ("ground/networks", "the WRN-28-10 of the instance-dependent labels"),
    ("methods/mlc", "Then the output has no bias"),
    ("studies/training_dynamics", "256 (1 - `remove_ratio`)")])
def test_pages_say(page, said):
    assert said in (ROOT/f"nbs/{page}.ipynb").read_text()

@pytest.mark.parametrize("wrong", ["20 of 127", "does not say which logits", "Here both are of the mixed images"])
def test_pages_no_longer_say(wrong):
    for page in (ROOT/"nbs").rglob("*.ipynb"): assert wrong not in page.read_text(), page
