"""The laws that every goal must pass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..geometry import rowwise
from ..goals import Goal
from ..rows import flatten, rebuild, take
from .attack_laws import require


def check_goal(goal: Goal, outputs: Any, won: Tensor) -> None:
    """`won` (B,) bool is what the task itself says of `outputs`, computed without the goal.

    The margin is positive exactly there, and any, or every, of the terms; rows are judged alone, by indices and masks;
    the loss has a finite gradient that raises it, and is what autograd finds where it is known in closed form.
    """
    verdict = goal(outputs)
    require(verdict.margin.shape == verdict.loss.shape == (len(goal),), "a verdict has one entry per row")
    require(torch.equal(verdict.margin > 0, won), "the margin's sign is not who has won")
    rows = torch.arange(len(goal)).flip(0)
    for chosen in (rows, rows % 2 == 0):
        part = take(goal, chosen)(take(outputs, chosen))
        require(torch.equal(part.margin, verdict.margin[chosen]), "a row is judged otherwise among other rows")
    terms = goal.terms(outputs)
    met = (terms.values > 0).all(1) if terms.every else (terms.values > 0).any(1)
    require(torch.equal(met, won), "the terms and the margin disagree on who has won")
    margins, places = terms.nearest(3)
    require(torch.equal(margins[:, 0], verdict.margin), "the value of the nearest rival is not the margin")
    if not terms.every:
        require(torch.equal(terms.values.gather(1, places), margins), "the nearest ways are in other places")
    _check_ascent(goal, outputs)


def _check_ascent(goal: Any, outputs: Any) -> None:
    tensors, plain = flatten(outputs)
    real = {name: one.double() for name, one in tensors.items() if one.is_floating_point()}

    def loss_at(values: Mapping[str, Tensor]) -> Tensor:
        loss: Tensor = goal(rebuild(type(outputs), {**tensors, **values}, plain)).loss
        return loss

    variables = {name: one.clone().requires_grad_() for name, one in real.items()}
    climbed = loss_at(variables)
    found = torch.autograd.grad(climbed.sum(), list(variables.values()), allow_unused=True, materialize_grads=True)
    grads, loss = dict(zip(variables, found, strict=True)), climbed.detach()
    require(all(bool(grad.isfinite().all()) for grad in found), "the loss has a gradient that is not finite")
    known = goal.verdict_and_gradient(real[""]) if isinstance(outputs, Tensor) else None
    if known is not None:
        gap = max(float((known[0].loss - loss).abs().max()), float((known[1] - grads[""]).abs().max()))
        require(gap < 1e-9, f"the loss and its gradient in closed form are off by {gap:g}")
    with torch.no_grad():
        squares = torch.stack([grad.flatten(1).square().sum(1) for grad in found]).sum(0)
        step = 1e-6 / squares.sqrt().clamp_min(1e-300)
        raised = loss_at({name: one + rowwise(step, one) * grads[name] for name, one in real.items()})
    require((raised >= loss - 1e-12).all(), "the loss falls along its own gradient")
