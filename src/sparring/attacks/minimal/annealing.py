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
    """Return the margin whose maximum over the rivals is smooth at a temperature that falls to 0 along a cosine.

        T log sum_{i != y} exp(z_i / T) - z_y

    At the first step, before a gap is known, and with a temperature of 0 it is the margin itself.

    Args:
        gap: (B,) the distance of the margin to 0 at the image.
        temperature: the first T, as a share of the gap.
        t, steps: which of how many steps this is.
    """
    return SmoothMargin(gap * (temperature * cosine_decay(t, steps))) if t and temperature else Margin()


def linear_step_size(region: Region, distance: Tensor) -> Tensor:
    """Return the L2 length (B,) of the shortest way that is `distance` (B,) long in the norm of the region.

    It is at least a thousandth of the inputs' scale, in L0 a whole component, and at most the region's extent.
    """
    least = (1.0 if region.ball.p == 0 else SHORTEST) * region.inputs.scale
    return torch.minimum(region.euclidean_length(distance).clamp_min(least), region.extent)
