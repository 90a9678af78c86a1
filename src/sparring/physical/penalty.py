"""Penalties on an artifact, which an attack subtracts from its loss: smoothness, colours that print, resemblance.

    maximize  loss(x) - weight * penalty(x)

Each is a technique of `TransferAttack`, so that every gradient attack takes it, through whatever it attacks:

    TransferAttack(MIFGSM(Linf(1.0)), TotalVariation(1e-4), NonPrintability(0.1, printer.palette()))

Of several, each adds its own gradient. The loss whose gradients are averaged over scenes is `Climb.in_sum`'s, which
lies around 1; weights are in that unit.
"""

from __future__ import annotations

from abc import abstractmethod
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

ROUNDING = 1e-5  # under the root of a squared difference, whose slope would be infinite at 0


@dataclass(frozen=True)
class Penalty(TransferTechnique):
    """Base class of penalties.

    Args:
        weight: of the penalty beside the loss.
    """

    weight: PositiveFloat

    abbreviation: ClassVar[str] = "penalized"
    queries_outside_ball: ClassVar[bool] = False
    pixel_grid: ClassVar[bool] = True

    @abstractmethod
    def penalty(self, images: Tensor, query: GradientQuery) -> Tensor:
        """Return the penalty (Q,) of images (Q, C, H, W); all draws are from `query.key` and `query.step`."""

    def __call__(self, gradient: GradientFunction, query: GradientQuery) -> Gradient:
        answer = gradient(query)
        leaf = query.images.detach().requires_grad_()
        with torch.enable_grad():
            penalty = self.penalty(leaf, query)
        (grad,) = torch.autograd.grad(penalty.sum(), leaf)
        value = answer.value - self.weight * penalty.detach()
        return replace(answer, value=value, grad=answer.grad - self.weight * grad.nan_to_num())


@dataclass(frozen=True)
class TotalVariation(Penalty):
    """The total variation of the artifact, mean sqrt(d_right^2 + d_down^2) over its pixels (Sharif et al. 2016)."""

    abbreviation: ClassVar[str] = "TV"

    def penalty(self, images: Tensor, query: GradientQuery) -> Tensor:
        down = images[:, :, 1:, :-1] - images[:, :, :-1, :-1]
        across = images[:, :, :-1, 1:] - images[:, :, :-1, :-1]
        return (down**2 + across**2 + ROUNDING).sqrt().flatten(1).mean(1)


@dataclass(frozen=True)
class NonPrintability(Penalty):
    """How far the colours of the artifact are from those that a printer has (Sharif et al. 2016, NPS).

    It is taken of the colours that are printed, not of a difference from some other picture.

    Args:
        palette: (colours, 3) in [0, 1], as `Printer.palette()`, or the strip of a photographed sheet.
    """

    palette: Tensor

    abbreviation: ClassVar[str] = "NPS"

    def __post_init__(self) -> None:
        super().__post_init__()
        palette = self.palette
        if not isinstance(palette, Tensor) or palette.ndim != 2 or palette.shape[1] != 3 or not len(palette):
            raise ConfigError(f"NonPrintability palette={palette!r:.80}; pass (colours, 3), as printer.palette()")

    def penalty(self, images: Tensor, query: GradientQuery) -> Tensor:
        colours = images.flatten(2).mT
        squared = (colours[:, :, None] - self.palette.to(images)).square().sum(3)
        return (squared.amin(2) + ROUNDING).sqrt().mean(1)


@dataclass(frozen=True)
class LabDistance(Penalty):
    """The distance of the picture from the clean one, both through the same draw of `through`, in CIELAB.

    || LAB(t(x')) - LAB(t(x)) ||_2 of Athalye et al. 2018 (arXiv:1707.07397, eq. 4), where t is drawn anew at each
    query. The clean picture is that which the attack's ball is around. Departure: the root of the mean over pixels, so
    that the weight does not depend on the size.

    Args:
        through: transforms of images, as the camera of a chain.
    """

    through: tuple[Transform, ...] = ()

    abbreviation: ClassVar[str] = "LAB"

    def check(self, ball: Ball, images: Tensor | None = None) -> None:
        if not all(isinstance(one, Transform) for one in self.through):
            raise ConfigError(f"LabDistance through={self.through!r:.80}; pass transforms, as (camera,)")
        if images is not None and images.shape[1] != 3:
            raise InputError(f"CIELAB is of pictures in colour, (N, 3, H, W); got {tuple(images.shape)}")

    def penalty(self, images: Tensor, query: GradientQuery) -> Tensor:
        key, clean = query.key.at(query.step), query.region.x
        for number, transform in enumerate(self.through):
            theirs = key.reseeded(number)
            images, clean = (transform.apply(one, theirs, None)[0] for one in (images, clean))
        apart = (to_lab(images) - to_lab(clean)).square().sum(1)
        return (apart.flatten(1).mean(1) + ROUNDING).sqrt()
