"""The losses of segmentation attacks against their formulas, and the margin in pixels."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from sparring.errors import GoalError
from sparring.goals import JensenShannon, MaskedCrossEntropy, Misclassify, MisclassifyPixels, Terms


def logits(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).double()


def test_jensen_shannon_is_the_divergence_of_the_softmax_from_the_label() -> None:
    z, y = 3 * logits(20, 5), torch.arange(20) % 5
    p, one = z.softmax(1), F.one_hot(y, 5).double()
    mean = (p + one) / 2
    wanted = 0.5 * (torch.xlogy(p, p / mean).sum(1) + torch.xlogy(one, one / mean).sum(1))
    assert torch.allclose(Misclassify(y).loss_of(z, JensenShannon()), wanted, atol=1e-12)
    targeted = JensenShannon().of(Terms(z.gather(1, y[:, None]) - z + 1e9 * one, every=True))
    assert torch.allclose(targeted, -wanted, atol=1e-9)


def test_jensen_shannon_has_a_gradient_without_nan_where_the_softmax_is_0_and_1() -> None:
    z = torch.tensor([[0.0, 500.0], [500.0, 0.0], [0.0, 0.0]], requires_grad=True)
    loss = JensenShannon().of(Terms(z[:, 1:] - z[:, :1]))
    loss.sum().backward()
    assert z.grad is not None
    assert bool(z.grad.isfinite().all())
    assert loss.tolist() == pytest.approx([math.log(2), 0.0, 0.215762], abs=1e-6)


def test_masked_cross_entropy_is_that_of_the_pixels_that_are_right() -> None:
    """With two classes the temperature is a fifth of the mean margin of the pixels with a label."""
    z, y = logits(2, 2, 4, 3), torch.randint(2, (2, 4, 3), generator=torch.Generator().manual_seed(1))
    y[0, 0, 0] = 255
    known, right = y != 255, z.argmax(1) == y
    apart = (z[:, 0] - z[:, 1]).abs() * known
    temperature = 0.2 * apart.sum((1, 2)) / known.sum((1, 2))
    each = F.cross_entropy(z / temperature[:, None, None, None], y, ignore_index=255, reduction="none")
    goal, weight = MisclassifyPixels(y), torch.where(right, 0.7, 0.3) * known
    segpgd = goal.loss_of(z, MaskedCrossEntropy(0.3))
    assert torch.allclose(segpgd, (weight * each).sum((1, 2)) / known.sum((1, 2)))
    balanced = goal.loss_of(z, MaskedCrossEntropy(balanced=True))
    for b in range(2):
        sizes = torch.stack([(y[b] == k).sum() for k in range(2)])
        by_class = sum((each[b] * right[b])[y[b] == k].sum() / sizes[k] for k in range(2))
        assert float(balanced[b]) == pytest.approx(float(by_class) / 2)  # a class has half of the weight


def test_the_losses_do_not_depend_on_the_scale_of_the_logits() -> None:
    z, y = logits(3, 5, 4, 4), torch.randint(5, (3, 4, 4), generator=torch.Generator().manual_seed(1))
    two = MisclassifyPixels(y % 2)
    assert torch.allclose(two.loss_of(z[:, :2]), two.loss_of(1e4 * z[:, :2]))
    for climb in (JensenShannon(), MaskedCrossEntropy(), MaskedCrossEntropy(0.2, balanced=True)):
        losses = [MisclassifyPixels(y).loss_of(scale * z, climb) for scale in (1e-4, 1.0, 1e4)]
        assert torch.allclose(losses[0], losses[1])
        assert torch.allclose(losses[2], losses[1])


def test_the_margin_in_parts_counts_pixels() -> None:
    z = torch.zeros(1, 2, 1, 5)
    z[0, 1] = torch.tensor([2.0, 1.0, -1.0, -2.0, -3.0])
    labels = torch.zeros(1, 1, 5, dtype=torch.long)
    for share, margin in ((0.2, 1.5), (0.4, 0.5), (0.6, -0.5), (1.0, -2.5)):
        goal = MisclassifyPixels(labels, share, margin_in="parts")
        assert float(goal.margin(z)) == pytest.approx(margin / 5)
        assert bool(goal.margin(z) > 0) == bool(MisclassifyPixels(labels, share).margin(z) > 0)
    with pytest.raises(GoalError, match="'logits' or 'parts'"):
        wrong = MisclassifyPixels(labels, margin_in="pixels")
        wrong.check(z, wrong)
    with pytest.raises(GoalError, match="won_weight=2"):
        MaskedCrossEntropy(2)
