"""SSR and DISC against numbers worked out by hand, and at the limits of their options."""
import pytest
import torch
import torch.nn.functional as F

from noisykit.errors import Refused
from noisykit.methods.disc import CLEAN, DISC, HARD, LEFT_OUT, PURIFIED, divide, moved_thresholds, purified_above, \
    view_losses
from noisykit.methods.ssr import SSR, agree, balanced, drawn, relabelled
from noisykit.neighbours import nearest, votes
from noisykit.run import run_method
from noisykit.streams import torch_stream
from shared import one_thread

VOTES, SIZES = torch.tensor([[2., 1, 0]], dtype=torch.float64)/3, torch.tensor([6, 3, 1])

def test_votes_are_balanced_by_the_sizes_of_classes():
    weighed = balanced(VOTES, SIZES)
    assert weighed[0].tolist() == pytest.approx([.5, .5, 0])
    kept = agree(weighed.expand(3, 3), torch.arange(3), 1.)
    assert kept.tolist() == [True, True, False]   # class 0 is twice as frequent: its two votes are worth one
    assert agree(balanced(VOTES, torch.tensor([1, 1, 1])), torch.tensor([1]), .5).all()
    assert not agree(balanced(VOTES, torch.tensor([1, 1, 1])), torch.tensor([1]), .51).any()

@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_everybody_as_a_neighbour_makes_all_classes_equal(dtype):
    labels = torch.arange(210) % 7 % 4   # classes of different sizes
    features = torch.randn(210, 6, generator=torch.Generator().manual_seed(0))
    shares = votes(nearest(features, 210), labels, 4).to(dtype)
    weighed = balanced(shares, torch.bincount(labels))
    assert torch.allclose(weighed, torch.full_like(weighed, .25)) and agree(weighed, labels, 1.).all()

def test_copies_with_two_labels_keep_both():
    features, labels = torch.tensor([[1., 0], [1, 0], [0, 1], [0, 1]]), torch.tensor([0, 1, 0, 1])
    shares = votes(nearest(features, 2), labels, 2)
    assert agree(balanced(shares, torch.bincount(labels)), labels, 1.).all()

def test_labels_are_replaced_where_the_network_is_sure():
    p, given = torch.tensor([[.95, .05], [.9, .1], [.2, .8]]), torch.tensor([1, 1, 0])
    labels, replaced = relabelled(p, given, .9)
    assert labels.tolist() == [0, 1, 0] and replaced.tolist() == [True, False, False]   # above, not at
    assert relabelled(p, given, 1.01)[0].equal(given)

def test_draws_are_balanced_and_clean():
    labels, clean = torch.tensor([0]*150 + [1]*40 + [2]*10), torch.ones(200, dtype=torch.bool)
    clean[::3] = False
    rows = torch.cat([drawn(labels, clean, torch_stream(k, "test")) for k in range(30)])
    assert clean[rows].all() and len(rows) == 6000
    assert (labels[rows].bincount()/6000).tolist() == pytest.approx([1/3]*3, abs=.03)
    none = torch.zeros(200, dtype=torch.bool)
    assert not clean[drawn(labels, none, torch_stream(0, "test"))].all()   # as if all were

SMALL = dict(dataset="digits", data_options=dict(train_size=300, test_size=50), noise="symmetric", noise_rate=.4,
             probe_size=0, model="cnn", batch_size=32, device="cpu", quiet=True)

def steps_of(folder, cls, epochs=1, start=lambda method: None, **options):
    "(run, what its steps were: (method, batch, Step)); `start` is called with the method before an epoch's first step"
    found, step, begin = [], cls.step, cls.begin_epoch
    def watched(self, batch):
        made = step(self, batch)
        found.append((self, batch, made))
        return made
    def begun(self, epoch):
        begin(self, epoch)
        start(self)
    with pytest.MonkeyPatch.context() as patch, one_thread():
        patch.setattr(cls, "step", watched)
        patch.setattr(cls, "begin_epoch", begun)
        run = run_method(method=cls.name, run_dir=str(folder), epochs=epochs, options=options, **SMALL)
    return run, found

def test_without_thresholds_it_is_balanced_cross_entropy_with_mixup(tmp_path):
    "theta_r above 1, theta_s 0: all samples with their given labels"
    run, found = steps_of(tmp_path/"run", SSR, theta_r=1.1, theta_s=0.)
    assert (run.samples("clean", 1) == 1).all() and (run.samples("target", 1) == run.labels.given).all()
    rows = torch.cat([batch.rows for _, batch, _ in found])
    assert len(rows) == 300
    given = torch.tensor(run.labels.given.to_numpy())
    assert (given[rows].bincount()/300).tolist() == pytest.approx([.1]*10, abs=.06)
    for method, batch, made in found:
        x, target = method.mixed(batch)
        one_hot = F.one_hot(given[batch.rows], 10).float().repeat(2, 1)
        assert x.shape[0] == target.shape[0] == 2*len(batch.rows)
        assert ((target*one_hot).sum(1) >= .5 - 1e-6).all()   # the larger share is the sample's own
        assert made.loss > 0

def test_a_sure_network_says_its_own_labels(tmp_path):
    run, found = steps_of(tmp_path/"run", SSR, theta_r=0.)
    method = found[-1][0]
    assert method.replaced.all() and (run.samples("target", 1) == method.labels.numpy()).all()
    assert method.k == 300//20   # half the mean size of a class

@pytest.mark.parametrize("method", ["ssr", "disc"])
def test_texts_are_refused(method, tmp_path):
    (tmp_path/"train.csv").write_text("text,label\n" + "".join(f"words {i} here,{'ab'[i % 2]}\n" for i in range(40)))
    (tmp_path/"test.csv").write_text("text,label\nwords here,a\nmore words,b\n")
    text = dict(dataset="text", data_dir=str(tmp_path), data_options={}, model="embedding_bag", epochs=3)
    with pytest.raises(Refused, match="takes several views of each picture"):
        run_method(method=method, run_dir=str(tmp_path/"run"), **SMALL | text)

# DISC

def test_thresholds_move_and_cap():
    tau, p = torch.tensor([[.4, .4]], dtype=torch.float64), torch.tensor([[[.9, .1], [.5, .5]]], dtype=torch.float64)
    assert moved_thresholds(tau, p, .99)[0].tolist() == pytest.approx([.405, .401])
    assert purified_above(torch.tensor([[.4, .5], [.5, .6]]), .5).tolist() == pytest.approx([.95, .99])

@pytest.mark.parametrize("p, kind, label", [
    ([[.6, .4], [.7, .3]], CLEAN, 0), ([[.6, .4], [.5, .5]], HARD, 0),   # at the threshold is not above it
    ([[.03, .97], [.04, .96]], PURIFIED, 1), ([[.05, .95], [.06, .94]], LEFT_OUT, 0)])
def test_a_sample_of_each_kind(p, kind, label):
    tau = torch.tensor([[.4, .5]], dtype=torch.float64)
    kinds, labels = divide(torch.tensor([p], dtype=torch.float64), tau, torch.tensor([0]), .5)
    assert (kinds.item(), labels.item()) == (kind, label)

def test_losses_of_the_kinds():
    "Clean: CE of both views; hard: a factor times GCE; others: 0"
    log_p = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64).log_softmax(2)
    target = torch.eye(3, dtype=torch.float64)[[0, 1, 2, 0]]
    found = view_losses(log_p, target, torch.tensor([CLEAN, HARD, PURIFIED, LEFT_OUT]), hard=.2, q=.7)
    weak, strong = (log_p[view, [0, 1, 2, 0], [0, 1, 2, 0]] for view in (0, 1))
    gce = (1 - weak[1].exp()**.7)/.7 + (1 - strong[1].exp()**.7)/.7
    assert found.tolist() == pytest.approx([float(-weak[0] - strong[0]), float(.2*gce), 0, 0])

def with_thresholds(value):
    def start(method): method.tau.fill_(value)
    return start

def both_views(method):
    "The sum of CE over samples and views, by the probabilities that an epoch's steps have left"
    given = method.trainer.given[:, None, None].expand(-1, 2, 1)
    return float(-method.p.values.gather(2, given).log().sum())

def total(found, epoch): return sum(made.loss.item()*batch.size for _, batch, made in found if batch.epoch == epoch)

def test_thresholds_of_0_make_all_clean(tmp_path, monkeypatch):
    "Every label is believed: beside the mixed part, the loss is the CE of both views"
    run, found = steps_of(tmp_path/"run", DISC, 2, with_thresholds(0.), warm_up=1)
    assert (run.samples("clean") == 1).all()
    mixed = total(found, 2) - both_views(found[-1][0])
    assert mixed > 0
    monkeypatch.setattr(DISC, "mixed_loss", lambda self, batch, target: 0.)
    _, found = steps_of(tmp_path/"without", DISC, 2, with_thresholds(0.), warm_up=1)
    assert total(found, 2) == pytest.approx(both_views(found[-1][0]), rel=1e-4)

def test_the_warm_up_is_the_cross_entropy_of_both_views(tmp_path):
    _, found = steps_of(tmp_path/"run", DISC, 1)   # one epoch: all of it
    assert total(found, 1) == pytest.approx(both_views(found[-1][0]), rel=1e-4)

def test_thresholds_of_1_select_nothing(tmp_path):
    run, found = steps_of(tmp_path/"run", DISC, 2, with_thresholds(1.), warm_up=1)
    second = [made.loss.item() for _, batch, made in found if batch.epoch == 2]
    assert second == [0]*len(second) and all(run.samples(kind).sum() == 0 for kind in ("clean", "hard", "purified"))
    assert all(made.loss > 0 for _, batch, made in found if batch.epoch == 1)

def test_a_run_that_ends_in_the_warm_up_is_refused(tmp_path):
    with pytest.raises(Refused, match="nothing would be selected"):
        run_method(method="disc", run_dir=str(tmp_path/"run"), epochs=2, options=dict(warm_up=2), **SMALL)
