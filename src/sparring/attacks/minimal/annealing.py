"""Cosine decays of step size and margin temperature, and first step sizes, of the first-order minimum-norm attacks."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...geometry.region import Region
from ...goals import Climb, Margin, SmoothMargin

SHORTEST = 1e-3  # first step in units of the inputs' scale; in L0 it is 1


def cosine_decay(t: int, steps: int) -> float:
    """Return (1 + cos(pi t / steps)) / 2: 1 at the first of the steps, 0 after the last."""
    return (1 + math.cos(math.pi * t / steps)) / 2


def annealed_margin(gap: Tensor, temperature: float, t: int, steps: int) -> Climb:
    """Return the margin with a smooth maximum over the rivals, whose temperature falls to 0 by a cosine schedule.

        T log sum_{i != y} exp(z_i / T) - z_y

    At the first step, before a gap is known, and with a temperature of 0 it is the margin itself.

    Args:
        gap: (B,) |margin| at the image.
        temperature: the first T, as a share of the gap.
        t, steps: the number of this step, and of all steps.
    """
    return SmoothMargin(gap * (temperature * cosine_decay(t, steps))) if t and temperature else Margin()


def linear_step_size(region: Region, distance: Tensor) -> Tensor:
    """Return the first step size: the L2 norm (B,) of a steepest step of norm `distance` (B,) in the region's norm.

    It is at least a thousandth of the inputs' scale, in L0 a whole component, and at most the region's extent.
    """
    least = (1.0 if region.ball.p == 0 else SHORTEST) * region.inputs.scale
    return torch.minimum(region.euclidean_length(distance).clamp_min(least), region.extent)
