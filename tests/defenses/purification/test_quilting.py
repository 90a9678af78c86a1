"""Quilting: seams against all paths, the wave of patches against one patch after another, and what is picked."""

from itertools import pairwise, product

import pytest
import torch

from sparring.defenses.purification import Quilting, clean_patches
from sparring.defenses.purification.min_cut import min_cut
from sparring.errors import ConfigError, InputError
from sparring.random import Key


def drawn(stream, shape):
    return Key(torch.arange(shape[0]), 6).uniform(stream, shape[1:], dtype=torch.float64)


def key(count, seed=0):
    return Key(torch.arange(count), seed)


def cheapest(cost):
    """The least sum over all paths that move by at most one."""
    lines, places = cost.shape
    paths = [p for p in product(range(places), repeat=lines) if all(abs(a - b) <= 1 for a, b in pairwise(p))]
    return min(paths, key=lambda path: sum(float(cost[line, place]) for line, place in enumerate(path)))


@pytest.mark.parametrize("places", [1, 2, 4])
def test_the_seam_is_the_cheapest_of_all_paths(places):
    costs = drawn("costs", (6, 5, places))
    found = min_cut(costs)
    assert [tuple(path.tolist()) for path in found] == [cheapest(cost) for cost in costs]


def one_after_another(stage, image, picked):
    """The textbook's loop: patches in reading order, each cut along its seams."""
    size, overlap = stage.size, stage.overlap
    stride = size - overlap
    canvas = torch.zeros_like(image)
    for r, c in product(range(picked.shape[0]), range(picked.shape[1])):
        old = canvas[:, r * stride : r * stride + size, c * stride : c * stride + size]
        new, taken = picked[r, c], torch.ones(size, size, dtype=torch.bool)
        error = (new - old).square().sum(0)
        if c > 0:
            for line, place in enumerate(cheapest(error[:, :overlap])):
                taken[line, :place] = False
        if r > 0:
            for line, place in enumerate(cheapest(error[:overlap].T)):
                taken[:place, line] = False
        old.copy_(torch.where(taken, new, old))
    return canvas


@pytest.mark.parametrize(("size", "overlap"), [(5, 2), (4, 1), (4, 2)])
def test_patches_laid_in_waves_are_patches_laid_one_after_another(size, overlap):
    stage = Quilting(clean_patches(drawn("base", (4, 2, 10, 10)), size, 60), overlap, neighbors=3)
    stride = size - overlap
    images = drawn("x", (2, 2, size + 3 * stride, size + 4 * stride))
    pick = key(2).integers("pick", (4, 5), 3)
    base = stage.patches.flatten(1)
    for number in range(2):
        picked = torch.zeros(4, 5, 2, size, size, dtype=torch.float64)
        for r, c in product(range(4), range(5)):
            wanted = images[number, :, r * stride : r * stride + size, c * stride : c * stride + size]
            order = (base - wanted.reshape(1, -1)).square().sum(1).argsort()
            picked[r, c] = stage.patches[order[pick[number, r, c]]]
        assert torch.equal(stage(images, key(2))[number], one_after_another(stage, images[number], picked))


def test_an_image_whose_patches_are_known_comes_back():
    images = drawn("x", (2, 1, 11, 14))
    views = images.unfold(2, 5, 3).unfold(3, 5, 3).permute(0, 2, 3, 1, 4, 5).reshape(-1, 1, 5, 5)
    assert torch.equal(Quilting(views, neighbors=1)(images, key(2)), images)


def test_one_of_the_nearest_is_picked_and_each_in_its_turn():
    base = drawn("base", (30, 1, 5, 5))
    image = drawn("x", (1, 1, 5, 5))
    nearest = (base - image).square().flatten(1).sum(1).argsort()[:4]
    stage = Quilting(base, neighbors=4)
    outcomes = [int(((base - stage(image, key(1, seed))).abs().flatten(1).sum(1) == 0).nonzero()) for seed in range(60)]
    assert set(outcomes) == set(nearest.tolist())


def test_clean_patches_are_parts_of_the_images():
    images = drawn("x", (3, 2, 7, 6))
    patches = clean_patches(images, 4, 50, seed=1)
    every = images.unfold(2, 4, 1).unfold(3, 4, 1).permute(0, 2, 3, 1, 4, 5).reshape(-1, 2, 4, 4)
    assert patches.shape == (50, 2, 4, 4)
    assert all(bool((every == patch).flatten(1).all(1).any()) for patch in patches)
    assert len({tuple(patch.flatten().tolist()) for patch in patches}) > 20
    assert torch.equal(patches, clean_patches(images, 4, 50, seed=1))
    assert not torch.equal(patches, clean_patches(images, 4, 50, seed=2))


def test_bad_input():
    with pytest.raises(InputError, match=r"Quilting has patches of 1 channels, and images 3"):
        Quilting(torch.zeros(20, 1, 5, 5))(torch.zeros(1, 3, 9, 9), key(1))
    with pytest.raises(InputError, match=r"square patches, not \(5, 4\)"):
        Quilting(torch.zeros(20, 1, 5, 4))
    with pytest.raises(InputError, match=r"nothing to learn from: \(0, 1, 5, 5\)"):
        Quilting(torch.zeros(0, 1, 5, 5))
    with pytest.raises(ConfigError, match=r"neighbors=30; pass an int from 1 to 20"):
        Quilting(torch.zeros(20, 1, 5, 5), neighbors=30)
    with pytest.raises(ConfigError, match=r"overlap=3 of patches 5 wide; pass at most half"):
        Quilting(torch.zeros(20, 1, 5, 5), overlap=3)
    with pytest.raises(InputError, match="outside it or NaN"):
        clean_patches(torch.full((1, 1, 6, 6), torch.nan))
    with pytest.raises(ConfigError, match="10 patches of 7 x 7"):
        clean_patches(torch.zeros(1, 1, 6, 6), 7, 10)
