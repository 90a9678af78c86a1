"""Latent descent: the laws of attacks, where it ends, and what it leaves alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import sparring as sp
from sparring.defenses.bayesian import ABS, ClassVAE, LatentDescent
from sparring.errors import GoalError, TargetError
from sparring.random import Key
from sparring.testing import check_attack
from sparring.testing.cases import Case

SHAPE = (3, 4, 4)


class TwoPictures(ClassVAE):
    """Class y shows its own picture, whatever z: the answer is the nearest picture's, in closed form."""

    def __init__(self) -> None:
        super().__init__(2, SHAPE, 2, sigma=0.5)
        pictures = Key(torch.arange(2), 1).uniform("picture", (48,), dtype=torch.float64)
        self.register_buffer("pictures", 0.2 + 0.6 * pictures)
        self.double()

    def decode(self, z: Tensor) -> Tensor:
        return self.pictures[:, None].expand(-1, z.shape[1], -1) + 0 * z.sum(2, keepdim=True)


def case(count: int = 6) -> Case:
    model = ABS(TwoPictures(), n_samples=4, steps=1).eval()
    noise = 0.05 * Key(torch.arange(count), 2).normal("noise", SHAPE, dtype=torch.float64)
    labels = torch.arange(count) % 2
    return Case(model, model.vae.pictures[labels].view(-1, *SHAPE) + noise, labels)


@pytest.mark.parametrize("ball", [sp.L2(), sp.Linf(), sp.L0()], ids=str)
def test_laws(ball: sp.geometry.Ball) -> None:
    given = case()
    check_attack(LatentDescent(ball, given.module, steps=12, step_size=0.1), given, ratio=None)


def test_it_ends_where_the_segment_to_the_other_picture_meets_the_boundary() -> None:
    given = case()
    found = sp.run(LatentDescent(sp.L2(), given.module, step_size=0.05), given.target, given.goal, given.images)
    assert bool(found.success.all())
    own, other = (given.module.vae.pictures[labels].view(-1, *SHAPE) for labels in (given.labels, 1 - given.labels))
    x = given.images
    way, apart = (other - x).flatten(1), (other - own).flatten(1)
    middle = ((own + other) / 2 - x).flatten(1)
    share = (middle * apart).sum(1) / (way * apart).sum(1)  # of the segment, up to the plane between the pictures
    torch.testing.assert_close(found.distance, share * way.norm(dim=1), rtol=0.02, atol=0)
    assert bool((found.distance >= share * way.norm(dim=1) * (1 - 1e-9)).all())


def test_in_l0_few_pixels_are_left_changed() -> None:
    given = case()
    found = sp.run(LatentDescent(sp.L0(), given.module, step_size=0.05), given.target, given.goal, given.images)
    assert bool(found.success.all())
    moves = (given.module.vae.pictures[1] - given.module.vae.pictures[0]).abs()
    assert bool((found.distance <= 24).all())  # half of them suffice, taken where the pictures differ most
    assert float(moves.min()) > 0


def test_masked_pixels_stay() -> None:
    given = case()
    mask = torch.ones(SHAPE, dtype=torch.bool)
    mask[..., 0] = False
    attack = LatentDescent(sp.L2(), given.module, step_size=0.05)
    found = sp.run(attack, given.target, given.goal, given.images, mask=mask)
    assert torch.equal(found.examples[..., 0], given.images[..., 0])


def test_refusals() -> None:
    given = case()
    with pytest.raises(TargetError, match="pass model="):
        LatentDescent(sp.L2())
    with pytest.raises(GoalError, match="serves Misclassify alone"):
        sp.run(LatentDescent(sp.L2(), given.module), given.target, sp.ClassifyAs(1 - given.labels), given.images)
