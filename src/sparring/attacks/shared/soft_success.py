"""A differentiable count of broken images, which the gradient attacks of `fit` maximize."""

from __future__ import annotations

from torch import Tensor

from ...geometry import tiny
from ...goals import Verdict


def soft_success(verdict: Verdict, temperature: float = 1.0) -> Tensor:
    """Return sigmoid(margin / T) of each image (B,), with T = `temperature` times the mean |margin| of the batch.

    Images that are broken already, or far from it, have little gradient; the scale of logits does not matter.
    """
    scale = verdict.margin.detach().abs().mean().clamp_min(tiny(verdict.margin))
    return (verdict.margin / (temperature * scale)).sigmoid()
