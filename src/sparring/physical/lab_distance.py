"""`LabDistance`: a picture that is to look like the clean one through the camera (Athalye et al. 2018).

    maximize  loss(t(x')) - weight || LAB(t(x')) - LAB(t(x)) ||_2                              (arXiv:1707.07397, eq. 4)

It is a technique of `TransferAttack`, so that every gradient attack takes it. `ContentDistance` measures before t.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from ..access import Gradient, PositiveFloat
from ..attacks.transfer import TransferTechnique
from ..attacks.transfer.technique import GradientFunction, GradientQuery
from ..errors import ConfigError, InputError
from ..geometry import Ball
from ..transforms import Transform
from .colour import to_lab

ROUNDING = 1e-5  # under a root, whose slope would be infinite at 0


@dataclass(frozen=True)
class LabDistance(TransferTechnique):
    """The colour difference from the clean picture, both through the same draw, which is new at each query.

    The clean picture is that which the attack's ball is around. Departure: the root of the mean over pixels, so that
    the weight does not depend on the size.

    Args:
        weight: beside the loss, which lies around 1 where gradients are averaged (`Climb.in_sum`).
        through: transforms of images, as printer and camera of a chain.
    """

    weight: PositiveFloat
    through: tuple[Transform, ...]

    abbreviation: ClassVar[str] = "LAB"
    queries_outside_ball: ClassVar[bool] = False
    pixel_grid: ClassVar[bool] = True

    def check(self, ball: Ball, images: Tensor | None = None) -> None:
        if not all(isinstance(one, Transform) for one in self.through):
            raise ConfigError(f"LabDistance through={self.through!r:.80}; pass transforms, as (camera,)")
        if images is not None and images.shape[1] != 3:
            raise InputError(f"CIELAB is of pictures in colour, (N, 3, H, W); got {tuple(images.shape)}")

    def __call__(self, gradient: GradientFunction, query: GradientQuery) -> Gradient:
        answer = gradient(query)
        leaf = query.images.detach().requires_grad_()
        with torch.enable_grad():
            distance = self.distance(leaf, query)
        (grad,) = torch.autograd.grad(distance.sum(), leaf)
        value = answer.value - self.weight * distance.detach()
        return replace(answer, value=value, grad=answer.grad - self.weight * grad)

    def distance(self, images: Tensor, query: GradientQuery) -> Tensor:
        """Return the distance (Q,) of images (Q, 3, H, W) from those of the query's region."""
        key, clean = query.key.at(query.step), query.region.x
        for number, transform in enumerate(self.through):
            theirs = key.reseeded(number)
            images, clean = (transform.apply(one, theirs, None)[0] for one in (images, clean))
        apart = (to_lab(images) - to_lab(clean)).square().sum(1)
        return (apart.flatten(1).mean(1) + ROUNDING).sqrt()
