"""Gradients averaged over several copies of each image, for scale invariance and variance tuning.

The copies of a batch are queried in groups, to bound memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from ...access import Gradient, Objective
from ...goals import Verdict
from ...rows import take
from .technique import GradientQuery

TOGETHER = 128  # images to a query, unless one copy of the batch is more: memory stays constant


def average_over_copies(
    gradient: Callable[[GradientQuery, Tensor], Gradient], query: GradientQuery, count: int
) -> Gradient:
    """Average gradient and value over `count` copies of each image, with the verdict of the first copy.

    `gradient` is given a query of copies and their numbers (Q,), 0 to count - 1. The sums run in the order of the
    numbers, so that how many are asked together changes nothing.
    """
    images, verdicts = query.images, []
    grad, value = torch.zeros_like(images), images.new_zeros(len(images))
    together = max(1, TOGETHER // len(images))
    for start in range(0, count, together):
        n = min(together, count - start)
        number = torch.arange(start, start + n, device=images.device).repeat(len(images))
        answer = gradient(query_of_copies(query, n, number, count), number)
        verdicts.append(_copy(answer.verdict, 0, n))
        for i in range(n):
            grad += answer.grad[i::n]
            value += answer.value[i::n]
    return Gradient(verdicts[0], value.div_(count), grad.div_(count), images)


def query_of_copies(query: GradientQuery, count: int, number: Tensor, total: int) -> GradientQuery:
    """Repeat each image `count` times, side by side; copy `number` (Q count,) of `total` has draws of its own."""
    place = torch.arange(len(query.images), device=number.device).repeat_interleave(count)
    step = query.step[place] if isinstance(query.step, Tensor) else query.step
    return replace(
        query,
        images=query.images[place],
        objective=None if query.objective is None else _objective_of_copies(query.objective, count),
        loss=take(query.loss, place),
        rows=place if query.rows is None else query.rows[place],
        key=replace(query.key.reseeded(total), indices=query.key.indices[place]),
        step=step * total + number,
        region=query.region.take(place),
        memory=query.memory[place],
    )


def _copy(verdict: Verdict, i: int, count: int) -> Verdict:
    return Verdict(verdict.margin[i::count], verdict.loss[i::count])


def _objective_of_copies(objective: Objective, count: int) -> Objective:
    """The objective for `count` copies of each image: it may hold rows of its own, one per image."""

    def of_copies(verdict: Verdict, images: Tensor) -> Tensor:
        values = [objective(_copy(verdict, i, count), images[i::count]) for i in range(count)]
        return torch.stack(values, 1).flatten()

    return of_copies
