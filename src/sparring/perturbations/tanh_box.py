"""The tanh change of variable (Carlini & Wagner 2017, arXiv:1608.04644, section V-B).

x = (tanh(w) + 1) / 2, so that every real w is a valid image.
"""

from __future__ import annotations

from torch import Tensor

SHRINK = 0.999999  # before atanh, so that black and white pixels have a finite w and can move


def to_tanh(x: Tensor) -> Tensor:
    """The w that renders as x, up to the shrinking."""
    return ((2 * x - 1) * SHRINK).atanh()


def from_tanh(w: Tensor) -> Tensor:
    """The image of w, in [0, 1]."""
    return (w.tanh() + 1) / 2
