"""SSR against numbers worked out by hand, and at the limits of its options."""
import pytest
import torch
import torch.nn.functional as F

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

SMALL = dict(method="ssr", dataset="digits", data_options=dict(train_size=300, test_size=50), noise="symmetric",
             noise_rate=.4, probe_size=0, model="cnn", epochs=1, batch_size=32, device="cpu", quiet=True)

def steps_of(folder, **options):
    "(trainer, batch, Step) of each step of a run"
    found, own = [], SSR.step
    def step(self, batch):
        made = own(self, batch)
        found.append((self, batch, made, self.mixed(batch)))
        return made
    with pytest.MonkeyPatch.context() as patch, one_thread():
        patch.setattr(SSR, "step", step)
        run = run_method(run_dir=str(folder), options=options, **SMALL)
    return run, found

def test_without_thresholds_it_is_balanced_cross_entropy_with_mixup(tmp_path):
    "theta_r above 1, theta_s 0: all samples with their given labels"
    run, found = steps_of(tmp_path/"run", theta_r=1.1, theta_s=0.)
    assert (run.samples("clean", 1) == 1).all() and (run.samples("target", 1) == run.labels.given).all()
    rows = torch.cat([batch.rows for _, batch, _, _ in found])
    assert len(rows) == 300
    given = torch.tensor(run.labels.given.to_numpy())
    assert (given[rows].bincount()/300).tolist() == pytest.approx([.1]*10, abs=.06)
    for _, batch, made, (x, target) in found:
        one_hot = F.one_hot(given[batch.rows], 10).float().repeat(2, 1)
        assert x.shape[0] == target.shape[0] == 2*len(batch.rows)
        assert ((target*one_hot).sum(1) >= .5 - 1e-6).all()   # the larger share is the sample's own
        assert made.loss > 0

def test_a_sure_network_says_its_own_labels(tmp_path):
    run, found = steps_of(tmp_path/"run", theta_r=0.)
    method = found[-1][0]
    assert method.replaced.all() and (run.samples("target", 1) == method.labels.numpy()).all()
    assert method.k == 300//20   # half the mean size of a class

def test_texts_are_refused(tmp_path):
    (tmp_path/"train.csv").write_text("text,label\n" + "".join(f"words {i} here,{'ab'[i % 2]}\n" for i in range(40)))
    (tmp_path/"test.csv").write_text("text,label\nwords here,a\nmore words,b\n")
    settings = SMALL | dict(dataset="text", data_dir=str(tmp_path), data_options={}, model="embedding_bag")
    with pytest.raises(Exception, match="mixes and augments pictures"):
        run_method(run_dir=str(tmp_path/"run"), **settings)
