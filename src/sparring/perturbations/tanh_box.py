"""The tanh change of variable (Carlini & Wagner 2017, arXiv:1608.04644, section V-B).

x = low + (high - low) (tanh(w) + 1) / 2, so that every real w is a valid input: an image, by default.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ..shapes import FloatBatch

SHRINK = 0.999999  # before atanh, so that black and white pixels have a finite w and can move

Bound = Float[Tensor, "..."] | float  # a number, or a tensor that broadcasts over the inputs


def to_tanh(x: FloatBatch, low: Bound = 0.0, high: Bound = 1.0) -> FloatBatch:
    """Return the w (B, ...) with from_tanh(w) = x, up to the factor SHRINK.

    `low` and `high` are numbers, or tensors that broadcast over `x`. Where one of them is infinite, w is x itself;
    where they are equal, w is 0.
    """
    if isinstance(low, float) and isinstance(high, float) and (low, high) == (0, 1):
        return ((2 * x - 1) * SHRINK).atanh()
    low, high = _tensors(x, low, high)
    width = high - low
    bounded = width.isfinite() & (width > 0)
    share = torch.where(bounded, (x - low) / width.where(bounded, 1), 0.5)
    return torch.where(width.isinf(), x, ((2 * share - 1) * SHRINK).atanh())


def from_tanh(w: FloatBatch, low: Bound = 0.0, high: Bound = 1.0) -> FloatBatch:
    """Return the input (B, ...) of w (B, ...), in [low, high].

    Where one of the bounds is infinite it is w itself, mirrored at the other one if that is finite.
    """
    if isinstance(low, float) and isinstance(high, float) and (low, high) == (0, 1):
        return (w.tanh() + 1) / 2
    low, high = _tensors(w, low, high)
    width = high - low
    if bool(width.isinf().all()):
        return _mirrored(w, low, high)
    inside = low.where(width.isfinite(), 0) + width.where(width.isfinite(), 0) * ((w.tanh() + 1) / 2)
    return torch.where(width.isinf(), _mirrored(w, low, high), inside)


def _mirrored(w: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return the values of w, mirrored at a bound that is finite where the other is not."""
    above = torch.where(low.isfinite() & high.isinf(), low + (w - low.nan_to_num(neginf=0)).abs(), w)
    return torch.where(high.isfinite() & low.isinf(), high - (high.nan_to_num(posinf=0) - w).abs(), above)


def _tensors(x: Tensor, low: Bound, high: Bound) -> tuple[Tensor, Tensor]:
    """Return the bounds as tensors of the dtype of x."""
    return torch.as_tensor(low, dtype=x.dtype, device=x.device), torch.as_tensor(high, dtype=x.dtype, device=x.device)
