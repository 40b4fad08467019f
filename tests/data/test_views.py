"""Strong views are tensor operations: each one gives what torchvision and PIL make of a picture, to the last grey
level, and a policy draws what torchvision's draws."""
from collections import Counter
from unittest import mock

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torchvision.transforms import v2

from noisykit.data.images import TensorImages
from noisykit.data.views import EITHER_WAY, OPERATIONS, POLICIES, STRONG, StrongViews, changed, strengths_of
from noisykit.streams import torch_stream

SHAPES = {"colour": ("RGB", 32, 32), "grey": ("L", 28, 28), "wide": ("RGB", 24, 37)}
UNUSUAL = dict(flat=lambda p: 0*p + 7, two_levels=lambda p: p//128*3, low=lambda p: p//4 + 100, black=lambda p: 0*p)

def pictures(mode, height, width):
    "Parts of a photograph, and some in which little happens"
    photo, random = Image.fromarray(load_sample_images().images[0]), np.random.default_rng(0)
    corners = random.integers([500, 290], size=(8, 2))
    parts = [photo.resize((width, height), box=(x, y, x + 130, y + 130)).convert(mode) for x, y in corners.tolist()]
    return parts + [Image.fromarray(change(np.asarray(parts[0]))) for change in UNUSUAL.values()]

def as_tensor(pictures):
    arrays = np.stack([np.atleast_3d(picture) for picture in pictures])
    return torch.from_numpy(arrays).permute(0, 3, 1, 2).contiguous()

def by_torchvision(picture, name, strength):
    "What torchvision's policies do with a picture of PIL"
    fill = dict.fromkeys([Image.Image, type(picture)])
    return v2.AutoAugment()._apply_image_or_video_transform(picture, name, strength, "nearest", fill)

@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_is_pils(name, shape):
    mode, H, W = SHAPES[shape]
    before, kind = pictures(mode, H, W), list(OPERATIONS).index(name)
    for levels in (10, 11):   # of AutoAugment, of RandAugment
        strengths = strengths_of(levels, H, W)[kind].unique()
        for s in [*strengths.tolist(), *(-strengths if name in EITHER_WAY else [])]:
            own = torch.full((len(before),), float(s), dtype=torch.float64)
            after = as_tensor([by_torchvision(picture, name, float(s)) for picture in before])
            assert OPERATIONS[name](as_tensor(before), own).equal(after), s

@pytest.mark.parametrize("theirs, levels", [(v2.AutoAugment, 10), (v2.RandAugment, 11)])
def test_strengths_are_torchvisions(theirs, levels):
    for H, W in ((32, 32), (224, 160)):
        ours = dict(zip(OPERATIONS, strengths_of(levels, H, W)))
        for name, (strengths, either_way) in theirs._AUGMENTATION_SPACE.items():
            expected = strengths(levels, H, W)
            assert ours[name].equal(torch.zeros(levels) if expected is None else expected.double()), name
            assert either_way == (name in EITHER_WAY)

N = 10_000
THEIRS = dict(
    autoaugment=v2.AutoAugment(v2.AutoAugmentPolicy.CIFAR10),
    randaugment=v2.Compose([v2.RandomApply([v2.RandomChoice([v2.RandAugment(1, k, 11) for k in range(1, 10)])])]*2))

def drawn_by_torchvision(policy):
    "For each of N pictures what would be done with it: [(operation, strength)]"
    done, picture = [[] for _ in range(N)], Image.new("RGB", (32, 32))
    def note(self, image, name, strength, *args, **kwargs):
        done[i].append((name, round(strength, 4)))
        return image
    with torch.random.fork_rng(devices=[]), \
         mock.patch.object(v2.AutoAugment, "_apply_image_or_video_transform", note), \
         mock.patch.object(v2.RandAugment, "_apply_image_or_video_transform", note):
        torch.manual_seed(0)
        for i in range(N): THEIRS[policy](picture)
    return done

def drawn_here(policy):
    kinds, strengths = POLICIES[policy](N, 32, 32, torch_stream(0, "draws"))
    names, done = list(OPERATIONS), []
    for kind, own in zip(kinds.T.tolist(), strengths.T.tolist()):
        done.append([(names[k], round(s, 4)) for k, s in zip(kind, own)])
    return done

def counted(draws):
    "How often each operation at each strength, how often each pair of operations, how often one, two or none"
    counts = Counter()
    for operations in draws:
        operations = [(name, strength) for name, strength in operations if name != "Identity"]
        counts.update([*operations, tuple(name for name, _ in operations), len(operations)])
    return counts

@pytest.mark.parametrize("policy", STRONG)
def test_a_policy_draws_what_torchvisions_draws(policy):
    ours, theirs = (counted(draws(policy)) for draws in (drawn_here, drawn_by_torchvision))
    assert len(ours) > 80
    for what in ours | theirs:
        assert abs(ours[what] - theirs[what]) <= 5*(ours[what] + theirs[what])**.5, (what, ours[what], theirs[what])

@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("policy", STRONG)
def test_a_batch_is_its_pictures_one_by_one(policy, shape):
    "Two operations after each other, each picture with its own, as PIL makes them"
    mode, H, W = SHAPES[shape]
    before = pictures(mode, H, W)*10
    pixels, names = as_tensor(before), list(OPERATIONS)
    draws = POLICIES[policy](len(before), H, W, torch_stream(1, "batch"))
    after = pixels
    for kinds, strengths in zip(*draws):
        after = changed(after, kinds, strengths)
        before = [by_torchvision(p, names[k], s) for p, k, s in zip(before, kinds.tolist(), strengths.tolist())]
    assert after.equal(as_tensor(before)) and not after.equal(pixels)

@pytest.mark.parametrize("policy", STRONG)
def test_a_view_depends_on_seed_epoch_and_position_alone(policy):
    pixels = as_tensor(pictures("RGB", 32, 32)*4)
    images, rows = TensorImages(pixels, pad=2, flip=True), torch.arange(len(pixels))
    def views(key, rows): return StrongViews(policy, key, images, 2, True)(pixels[rows], rows)
    whole = views((0, 1), rows)
    for part in (rows[:1], rows[10:], rows.flip(0), rows[::3]): assert views((0, 1), part).equal(whole[part])
    for other in ((1, 1), (0, 2)): assert not views(other, rows).equal(whole)
    (_, second), = images.batches([rows], (0, 1), ('standard', policy))
    assert second.equal(next(TensorImages(whole, images.mean, images.std).batches([rows])))
