"""The laws that every goal must pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..goals import Goal
from ..rows import take
from .attack_laws import require


def check_goal(goal: Goal, outputs: Tensor, won: Tensor) -> None:
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
    require(torch.equal(margins[:, 0], verdict.margin), "the nearest way to win is not the margin")
    if not terms.every:
        require(torch.equal(terms.values.gather(1, places), margins), "the nearest ways are in other places")
    _check_ascent(goal, outputs)


def _check_ascent(goal: Any, outputs: Tensor) -> None:
    variable = outputs.double().clone().requires_grad_()
    climbed = goal(variable).loss
    (grad,) = torch.autograd.grad(climbed.sum(), variable)
    loss = climbed.detach()
    require(grad.isfinite().all(), "the loss has a gradient that is not finite")
    known = goal.verdict_and_gradient(variable.detach())
    if known is not None:
        gap = max(float((known[0].loss - loss).abs().max()), float((known[1] - grad).abs().max()))
        require(gap < 1e-9, f"the loss and its gradient in closed form are off by {gap:g}")
    with torch.no_grad():
        length = grad.flatten(1).norm(dim=1).clamp_min(1e-300).view(-1, *[1] * (grad.ndim - 1))
        raised = goal(variable + 1e-6 * grad / length).loss
    require((raised >= loss - 1e-12).all(), "the loss falls along its own gradient")
