"""The laws that every stage and detector of a defence must pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..random import Key
from ..transforms import Detector, Stage
from .attack_laws import require
from .cases import draw
from .transform_laws import check_answers, check_gradient, check_transform, key_of


def check_defense(
    part: Stage | Detector, images: Tensor | None = None, *, tolerance: float = 1e-9, slope: float = 1e-4
) -> None:
    """The laws of a stage or a detector on `images` (N, C, H, W) float64 in [0, 1]; AssertionError with what was seen.

    A stage obeys those of every transform (`check_transform`). An alarm is one finite number for each image that does
    not depend on the batch, the same for the same key, and another for another key exactly where `stochastic` is
    declared; its gradient is finite and not zero throughout.
    """
    given: Any = part
    if not isinstance(given, Stage | Detector):
        got = f"the class {given.__name__}" if isinstance(given, type) else f"a {type(given).__name__}"
        raise AssertionError(f"{got} is no part of a defence; pass an instance of a Stage or a Detector")
    if images is None:
        images = (0.5 + 0.2 * draw("defense", (6, 3, 16, 16))).clamp(0.02, 0.98)
    try:
        if isinstance(part, Stage):
            check_transform(part, images, tolerance=tolerance, slope=slope)
        else:
            _check_alarm(part, images, tolerance)
    except AssertionError:
        raise
    except Exception as error:
        cure = "a stage returns images (N, C, H, W) like those it is given, a detector an alarm (N,)"
        raise AssertionError(f"{part.name} raised {type(error).__name__}: {error}; {cure}") from error


def _check_alarm(part: Detector, images: Tensor, tolerance: float) -> None:
    def alarm(images: Tensor, key: Key, context: Any) -> Tensor:
        return part.alarm(images, key)

    check_answers(part.name, alarm, images, part.stochastic, tolerance)
    key = key_of(images)
    require(
        part.alarm(images, key).shape == (len(images),),
        f"{part.name}: an alarm is one number per image; return shape (images,)",
    )
    x = images.clone().requires_grad_()
    with torch.enable_grad():
        loud = part.alarm(x, key)
    require(
        loud.requires_grad,
        f"{part.name}: no gradient leads from the alarm to the images; detach nothing, and compute without no_grad",
    )
    (grad,) = torch.autograd.grad(loud.sum(), x)
    check_gradient(part.name, grad)
