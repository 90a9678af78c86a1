"""The auditor's own look at images: the untouched target, in float32, away from the attacks' ledger."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..geometry import Ball
from ..goals import Misclassify
from ..targets import Target

LEVELS = 255
TOLERANCE = 1e-6


class Look(NamedTuple):
    """What the target says of B images; everything on the CPU."""

    outputs: Tensor  # (B, K) float32
    predicted: Tensor  # (B,) int64
    confidence: Tensor  # (B,) softmax probability of the prediction; 0 where the output is not finite
    finite: Tensor  # (B,) bool


def look(target: Target[Any], images: Tensor, batch_size: int) -> Look:
    """The target's answers, `batch_size` images at a time."""
    parts = []
    with target.frozen(), torch.no_grad():
        for start in range(0, len(images), batch_size):
            part = images[start : start + batch_size].float().to(target.device)
            parts.append(target(part).float().cpu())
    outputs = torch.cat(parts)
    finite = outputs.isfinite().all(1)
    calm = torch.where(finite[:, None], outputs, 0.0)
    confidence, predicted = calm.softmax(1).max(1)
    return Look(outputs, predicted, torch.where(finite, confidence, 0.0), finite)


def fooled(seen: Look, labels: Tensor) -> Tensor:
    """(B,) bool: another class leads the label, by the rule that the attacks were judged by."""
    return (Misclassify(labels)(seen.outputs).margin > 0) & seen.finite


def inside(ball: Ball, examples: Tensor, originals: Tensor) -> Tensor:
    """(B,) bool: within the ball and the valid range, rounding apart."""
    flat = examples.flatten(1)
    valid = (flat.amin(1) >= -TOLERANCE) & (flat.amax(1) <= 1 + TOLERANCE)
    return valid & (ball.norm(examples - originals) <= ball.eps + TOLERANCE * max(1.0, ball.eps))


def rounded(images: Tensor) -> Tensor:
    """The images as an 8-bit file would hold them."""
    return (images.clamp(0, 1) * LEVELS).round() / LEVELS
