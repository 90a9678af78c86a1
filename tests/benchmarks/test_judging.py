"""What the benchmark makes of an answer: sizes in every norm, and rounding that is no move."""

from math import inf

import pytest
import torch
from benchmarks.judging import ROUNDING, judge
from torch import Tensor, nn


class Brightness(nn.Module):
    """Class 1 where the pixels sum to more than one half."""

    def forward(self, images: Tensor) -> Tensor:
        total = images.flatten(1).sum(1)
        return torch.stack((torch.full_like(total, 0.5), total), dim=1)


CLEAN, LABELS = torch.zeros(1, 1, 2, 2), torch.zeros(1, dtype=torch.long)


def answer(*pixels: float) -> Tensor:
    return torch.tensor(pixels).reshape(1, 1, 2, 2)


@pytest.mark.parametrize(("norm", "size"), [("Linf", 0.4), ("L2", 0.5), ("L1", 0.7), ("L0", 2.0)])
def test_the_size_is_that_of_the_norm(norm: str, size: float) -> None:
    verdict = judge(Brightness(), CLEAN, LABELS, answer(0.3, 0.4, 0, 0), norm, inf)
    assert verdict.success == 1
    assert verdict.median_distance == pytest.approx(size)


def test_rounding_is_no_move_in_l0() -> None:
    verdict = judge(Brightness(), CLEAN, LABELS, answer(0.6, ROUNDING / 2, ROUNDING / 2, 0), "L0", inf)
    assert verdict.median_distance == 1


def test_an_example_that_lives_on_moves_not_counted_is_none() -> None:
    """What is not counted is not classified either."""
    clean = torch.full((1, 1, 2, 2), 0.125)
    beyond = clean + torch.tensor([ROUNDING / 2, 0, 0, 0]).reshape(1, 1, 2, 2)
    assert judge(Brightness(), clean, LABELS, beyond, "Linf", inf).success == 1
    assert judge(Brightness(), clean, LABELS, beyond, "L0", inf).success == 0


def test_a_radius_holds_in_l1() -> None:
    verdict = judge(Brightness(), CLEAN, LABELS, answer(0.3, 0.4, 0, 0), "L1", 0.6)
    assert (verdict.success, verdict.outside) == (0, 1)


def test_a_target_must_be_reached():
    net, wrong = Brightness(), answer(0.6, 0.6, 0, 0)
    fell = judge(net, CLEAN, LABELS, wrong, "Linf", inf)
    reached = judge(net, CLEAN, LABELS, wrong, "Linf", inf, net(wrong).argmax(1))
    missed = judge(net, CLEAN, LABELS, wrong, "Linf", inf, 1 + net(wrong).argmax(1))
    assert fell.success == reached.success > 0
    assert missed.success == 0
