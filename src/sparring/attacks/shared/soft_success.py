"""A differentiable count of broken images, which the gradient attacks of `fit` maximize."""

from __future__ import annotations

from torch import Tensor

from ...geometry import tiny
from ...goals import Verdict


def soft_success(verdict: Verdict, temperature: float = 1.0) -> Tensor:
    """Return sigmoid(margin / T) of each image (B,), with T = `temperature` times the mean |margin| of the batch.

    Images that are broken already, or far from it, have little gradient; the scale of logits does not matter.
    """
    margin = verdict.margin
    size = margin.detach().abs()[margin.isfinite()]  # -inf: nothing can break that image
    scale = size.sum() / max(1, len(size))
    return (margin / (temperature * scale.clamp_min(tiny(margin)))).sigmoid()
