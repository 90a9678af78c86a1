"""Scale invariance (Lin et al. 2020, arXiv:1908.06281, section 3.2): the mean gradient over darker copies.

    g = 1/m sum_{i=0}^{m-1} grad_x L( x / 2^i )

Copies of a batch are asked about together, some at a time, here and in `variance`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from ...access import Gradient, Objective
from ...errors import ConfigError
from ...geometry import rowwise
from ...goals import Verdict
from ...rows import take
from .trick import Ask, Question, Trick, through

TOGETHER = 128  # images to a question, unless one copy of the batch is more: memory stays flat


@dataclass(frozen=True)
class ScaleInvariance(Trick):
    """SI.

    Args:
        copies: m (5 in the paper); so many passes to a gradient.
    """

    copies: int = 5

    short: ClassVar[str] = "SI"
    repeats: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.copies < 1:
            raise ConfigError(f"ScaleInvariance copies={self.copies}; pass a number >= 1")

    def __call__(self, ask: Ask, question: Question) -> Gradient:
        def darker(copy: Question, number: Tensor) -> Gradient:
            shade = rowwise(0.5**number, copy.images).to(copy.images.dtype)
            return through(ask, copy, lambda images: images * shade)

        return average(darker, question, self.copies)


def average(ask: Callable[[Question, Tensor], Gradient], question: Question, count: int) -> Gradient:
    """Gradient and value averaged over `count` copies of each image, with the verdict of the first.

    `ask` is given copies and their numbers, 0 to count - 1. The sums run in the order of the numbers: how many were
    asked together changes nothing.
    """
    images, verdicts = question.images, []
    grad, value = torch.zeros_like(images), images.new_zeros(len(images))
    together = max(1, TOGETHER // len(images))
    for start in range(0, count, together):
        n = min(together, count - start)
        number = torch.arange(start, start + n, device=images.device).repeat(len(images))
        answer = ask(repeated(question, n, number, count), number)
        verdicts.append(_copy(answer.verdict, 0, n))
        for i in range(n):
            grad += answer.grad[i::n]
            value += answer.value[i::n]
    return Gradient(verdicts[0], value.div_(count), grad.div_(count), images)


def repeated(question: Question, count: int, number: Tensor, whole: int) -> Question:
    """Each image `count` times, side by side; copy `number` (Q count,) of `whole` has draws of its own."""
    place = torch.arange(len(question.images), device=number.device).repeat_interleave(count)
    step = question.step[place] if isinstance(question.step, Tensor) else question.step
    return replace(
        question,
        images=question.images[place],
        objective=None if question.objective is None else _each(question.objective, count),
        loss=take(question.loss, place),
        rows=place if question.rows is None else question.rows[place],
        key=replace(question.key.reseeded(whole), indices=question.key.indices[place]),
        step=step * whole + number,
        region=question.region.take(place),
        memory=question.memory[place],
    )


def _copy(verdict: Verdict, i: int, count: int) -> Verdict:
    return Verdict(verdict.margin[i::count], verdict.loss[i::count])


def _each(objective: Objective, count: int) -> Objective:
    """The objective for `count` copies of each image: it may hold rows of its own, one per image."""

    def copies(verdict: Verdict, images: Tensor) -> Tensor:
        values = [objective(_copy(verdict, i, count), images[i::count]) for i in range(count)]
        return torch.stack(values, 1).flatten()

    return copies
