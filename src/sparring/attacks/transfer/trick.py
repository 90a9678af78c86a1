"""What every trick for transfer is given, and what it gives back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from ...access import Gradient, Objective
from ...geometry import Ball
from ...geometry.region import Region
from ...goals import Climb
from ...random import Key


@dataclass(frozen=True)
class Question:
    """The gradient is wanted at `images` (Q, C, H, W)."""

    images: Tensor
    objective: Objective | None
    loss: Climb | None
    rows: Tensor | None  # (Q,) as in `Gradients.gradient`
    key: Key  # of Q indices
    step: int | Tensor  # of the key's draws; (Q,) or one for all
    region: Region  # of Q rows
    memory: Tensor  # (Q, ...) what the trick that remembers said last


Ask = Callable[[Question], Gradient]


@dataclass(frozen=True)
class Remembered(Gradient):
    """An answer with what the trick shall be told at the next step, one row per image."""

    memory: Tensor


class Trick(ABC):
    """Asks another question than it was asked, or changes the answer."""

    short: ClassVar[str]  # as in the field's names of attacks
    queries_outside_ball: ClassVar[bool] = True  # does it ask about images beyond the ball?
    repeats: ClassVar[bool] = False  # does it ask about several copies of an image?
    remembers: ClassVar[bool] = False  # does it answer with a memory?
    pixel_grid: ClassVar[bool] = False  # does it need inputs that are pictures?

    def check(self, ball: Ball, images: Tensor | None = None) -> None:
        """Raise where the trick does not serve such a ball or, once they are known, such images."""
        return

    @abstractmethod
    def __call__(self, ask: Ask, question: Question) -> Gradient:
        """The gradient at the images of the question, by way of `ask`."""


def through(ask: Ask, question: Question, view: Callable[[Tensor], Tensor]) -> Gradient:
    """The answer for view(images), its gradient carried back to the images."""
    leaf = question.images.detach().requires_grad_()
    with torch.enable_grad():
        seen = view(leaf)
    answer = ask(replace(question, images=seen.detach()))
    (grad,) = torch.autograd.grad(seen, leaf, answer.grad)
    return replace(answer, grad=grad)
