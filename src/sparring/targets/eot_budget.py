"""The number of draws that EOT needs for a random defence (Athalye et al. 2018, arXiv:1707.07397).

With one draw's gradient g_j = mu + noise, the mean of k of them has, at a row, about

    cos^2(mean of k, mu) = S / (S + V / k)          S = |mu|^2,   V = E |g_j - mu|^2

so that a cosine of c takes k = V / S * c^2 / (1 - c^2) draws.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..access import gradient_of
from ..goals import Goal
from ..isolation import isolated
from ..random import Key
from ..rows import take
from ..shapes import FloatBatch
from .target import Target, answered

COSINE, PROBES, ROWS, MOST = 0.9, 24, 16, 64


def draws_for(target: Target[Any], goal: Goal, images: FloatBatch, context: Any = None, cosine: float = COSINE) -> int:
    """Draws that turn the mean gradient within arccos(`cosine`) of the expected one, for the median image; at most 64.

    Measured with 24 draws at a small random step from the first 16 of the `images` (N, C, H, W): at the images
    themselves many gradients vanish. `goal` has one row per image.
    """
    rows = torch.arange(min(ROWS, len(images)), device=images.device)
    signal, noise = moments(target, take(goal, rows), images[rows], take(context, rows))
    needed = (noise / signal.clamp_min(torch.finfo(signal.dtype).tiny)) * cosine**2 / (1 - cosine**2)
    median = float(needed.median())
    return min(MOST, max(1, math.ceil(median))) if math.isfinite(median) else MOST


@isolated()
def moments(
    target: Target[Any], goal: Goal, images: FloatBatch, context: Any = None, probes: int = PROBES
) -> tuple[Tensor, Tensor]:
    """Return unbiased estimates (B,) of |mu|^2 and V for the gradient of the loss that EOT averages."""
    key = Key(torch.arange(len(images), device=images.device), 0)
    step = 0.01 * target.inputs.scale * key.signs("probe", images.shape[1:], dtype=images.dtype)
    low, high = (torch.as_tensor(bound, device=images.device) for bound in target.inputs.range_like(images))
    moved = (images + step).clamp(low, high)
    total, squares = torch.zeros_like(images), images.new_zeros(len(images))
    with target.frozen():
        for probe in range(probes):
            x = moved.detach().requires_grad_()
            with torch.enable_grad():
                outputs = answered(target, x, replace(key, seed=1).reseeded(probe), context)
                loss = goal.loss_of(outputs, goal.loss.in_sum())
            grad = gradient_of(loss, x)
            total += grad
            squares += grad.flatten(1).square().sum(1)
    mean_square = (total / probes).flatten(1).square().sum(1)
    noise = (squares / probes - mean_square).clamp_min(0) * probes / (probes - 1)
    return (mean_square - noise / probes).clamp_min(0), noise
