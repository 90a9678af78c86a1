"""The interface of the techniques that make examples transfer, and the gradient queries that they answer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from ...access import Gradient, Objective, check_parameters
from ...geometry import Ball
from ...geometry.region import Region
from ...goals import Climb
from ...random import Key


@dataclass(frozen=True)
class GradientQuery:
    """A query for the gradient at `images` (Q, C, H, W)."""

    images: Tensor
    objective: Objective | None
    loss: Climb | None
    rows: Tensor | None  # (Q,) as in `Gradients.gradient`
    key: Key  # of Q indices
    step: int | Tensor  # the step of the key's draws; (Q,) or one for all
    region: Region  # of Q rows
    memory: Tensor  # (Q, ...) the memory that the technique returned at the last step


GradientFunction = Callable[[GradientQuery], Gradient]


@dataclass(frozen=True)
class GradientWithMemory(Gradient):
    """A gradient, and the memory for the next step, such as VT's correction, with one row per image."""

    memory: Tensor


class TransferTechnique(ABC):
    """Base class of changes to the gradient that make examples transfer: to the query, or to its answer.

    Subclasses are frozen dataclasses, whose numbers are checked against the bounds in the types of the fields.
    """

    abbreviation: ClassVar[str]  # in the names of attacks, such as "DI"
    queries_outside_ball: ClassVar[bool] = True  # whether it queries images outside the ball
    uses_copies: ClassVar[bool] = False  # whether it queries several copies of an image
    has_memory: ClassVar[bool] = False  # whether it returns a `GradientWithMemory`
    pixel_grid: ClassVar[bool] = False  # whether it needs inputs that are images

    def __post_init__(self) -> None:
        """Raise ConfigError for a number out of bounds."""
        check_parameters(self)

    def check(self, ball: Ball, images: Tensor | None = None) -> None:
        """Raise where the technique does not support this ball or, if given, images of this shape (B, C, H, W)."""
        return

    @abstractmethod
    def __call__(self, gradient: GradientFunction, query: GradientQuery) -> Gradient:
        """Answer the query with the help of `gradient`, which answers queries without this technique."""


def gradient_through(
    gradient: GradientFunction, query: GradientQuery, transform: Callable[[Tensor], Tensor]
) -> Gradient:
    """Answer the query for transform(images), with the gradient carried back to the images."""
    leaf = query.images.detach().requires_grad_()
    with torch.enable_grad():
        transformed = transform(leaf)
    answer = gradient(replace(query, images=transformed.detach()))
    (grad,) = torch.autograd.grad(transformed, leaf, answer.grad)
    return replace(answer, grad=grad)
