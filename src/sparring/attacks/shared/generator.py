"""An artifact that perturbs each image within a ball in one forward pass (Xiao et al. 2018, arXiv:1801.02610)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from ...errors import InputError
from ...geometry import Ball
from ...random import Key
from .artifact import Artifact
from .networks import Generator, NetworkSpec

MIN_SIDE = 8  # instance norm needs more than one place, and the generator halves the sides twice
MAX_CHANNELS, MAX_WIDTH = 64, 256  # of a file from elsewhere


def bound(delta: Tensor, ball: Ball) -> Tensor:
    """Map delta (B, C, H, W) into the ball: eps tanh(d) in Linf, eps d / sqrt(1 + |d|^2) in L2; NaN becomes 0."""
    reach = max(0.0, ball.eps - torch.finfo(delta.dtype).eps)  # x + delta is rounded, and must not leave the ball
    return replace(ball, eps=reach).squash(delta.nan_to_num())


@dataclass(frozen=True)
class PerturbationGenerator(Artifact):
    """x -> clip(x + bound(G(x)), 0, 1), one forward pass of a generator.

    Args:
        weights: (P,) of a `Generator(channels, width)`, one parameter after the other.
        channels: of the images.
        width: filters of the first layer.
        ball: Linf or L2 with a finite eps.
    """

    weights: Tensor
    channels: int
    width: int
    ball: Ball

    kind: ClassVar[str] = "generator"

    @property
    def spec(self) -> NetworkSpec:
        """The architecture of the generator."""
        return NetworkSpec(Generator, self.channels, self.width)

    @property
    def shape(self) -> tuple[int | None, ...]:
        return (self.channels, None, None)

    def check(self, x: Tensor) -> None:
        super().check(x)
        check_size(x)

    def perturb(self, x: Tensor, key: Key, context: Any) -> Tensor:
        return perturb(self.spec, self.weights.to(x), x, self.ball)

    def tensors(self) -> dict[str, Tensor]:
        return self.spec.split(self.weights)

    def settings(self) -> dict[str, Any]:
        return {"channels": self.channels, "width": self.width}

    @classmethod
    def from_tensors(cls, ball: Ball, tensors: dict[str, Tensor], settings: Mapping[str, Any]) -> Self:
        channels, width = settings["channels"], settings["width"]
        for value, most in ((channels, MAX_CHANNELS), (width, MAX_WIDTH)):
            if type(value) is not int or not 1 <= value <= most:
                raise ValueError(f"channels={channels!r}, width={width!r} of a generator")
        kinds = {value.dtype for value in tensors.values()}
        if len(kinds) != 1 or not kinds <= {torch.float32, torch.float64}:
            raise ValueError(f"weights of {kinds}")
        return cls(NetworkSpec(Generator, channels, width).join(tensors), channels, width, ball)


def perturb(spec: NetworkSpec, weights: Tensor, x: Tensor, ball: Ball) -> Tensor:
    """Perturb the images x (B, C, H, W) within the ball and [0, 1] by the generator of these weights."""
    return (x + bound(spec.run(weights, x), ball)).clamp(0, 1)


def check_size(x: Tensor) -> None:
    """Raise InputError for images (B, C, H, W) that are too small for the networks."""
    if min(x.shape[2:]) < MIN_SIDE:
        raise InputError(f"a generator moves images of at least {MIN_SIDE} x {MIN_SIDE}, not {tuple(x.shape[2:])}")
