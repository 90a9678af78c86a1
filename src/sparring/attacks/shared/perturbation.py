"""The artifact of a universal perturbation: the same perturbation for every image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from ...geometry import Ball
from ...random import Key
from .artifact import Artifact


@dataclass(frozen=True)
class Perturbation(Artifact):
    """x -> clip(x + delta, 0, 1).

    Args:
        delta: (C, H, W), within the ball.
        ball: the norm and the radius of delta.

    Raises ValueError for a delta that is no image or lies outside the ball.
    """

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

    def perturb(self, x: Tensor, key: Key, context: Any) -> Tensor:
        return (x + self.delta.to(x)).clamp(0, 1)

    def tensors(self) -> dict[str, Tensor]:
        return {"delta": self.delta}

    @classmethod
    def from_tensors(cls, ball: Ball, tensors: dict[str, Tensor], settings: Mapping[str, Any]) -> Self:
        return cls(tensors["delta"], ball)


def project_delta(delta: Tensor, ball: Ball) -> Tensor:
    """Project delta (C, H, W) onto the ball and onto [-1, 1], the range of all differences of pixels."""
    edge = torch.ones_like(delta[None])
    return ball.project_between(delta[None], -edge, edge)[0]


def initial_delta(like: Tensor, start: Perturbation | None, ball: Ball) -> Tensor:
    """Return zeros (C, H, W) for images such as `like` (1, C, H, W), or the delta of `start`, projected.

    Raises InputError where `start` does not apply to such images.
    """
    if start is None:
        return torch.zeros_like(like[0])
    start.check(like)
    return project_delta(start.delta.to(like), ball)
