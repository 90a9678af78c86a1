"""One perturbation for all images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from ...geometry import Ball
from .artifact import Artifact


@dataclass(frozen=True)
class Perturbation(Artifact):
    """x -> clip(x + delta, 0, 1), delta (C, H, W) within the ball."""

    delta: Tensor
    ball: Ball

    kind: ClassVar[str] = "perturbation"

    def __post_init__(self) -> None:
        if self.delta.ndim != 3 or not self.delta.is_floating_point():
            raise ValueError(f"delta is {self.delta.dtype} {tuple(self.delta.shape)}; pass float (C, H, W)")
        size = float(self.ball.norm(self.delta[None]))
        if not size <= self.ball.eps + 1e-6 * max(1.0, self.ball.eps):
            raise ValueError(f"delta has the norm {size:g}, more than {self.ball}")

    @property
    def shape(self) -> tuple[int | None, ...]:
        return tuple(self.delta.shape)

    def moved(self, x: Tensor) -> Tensor:
        return (x + self.delta.to(x)).clamp(0, 1)

    def tensors(self) -> dict[str, Tensor]:
        return {"delta": self.delta}

    @classmethod
    def rebuilt(cls, ball: Ball, tensors: dict[str, Tensor], settings: Mapping[str, Any]) -> Self:
        return cls(tensors["delta"], ball)


def within(delta: Tensor, ball: Ball) -> Tensor:
    """The nearest point to delta (C, H, W) in the ball and in [-1, 1], the range of all differences of pixels."""
    edge = torch.ones_like(delta[None])
    return ball.project_between(delta[None], -edge, edge)[0]
