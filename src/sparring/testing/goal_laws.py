"""The laws that every goal must pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..goals import Goal
from .attack_laws import require


def check_goal(goal: Goal, outputs: Tensor, won: Tensor) -> None:
    """`won` (B,) bool is what the task itself says of `outputs`, computed without the goal.

    The margin is positive exactly there, rows are judged alone, `take` follows indices and masks, the loss
    has a finite gradient that raises it, and the nearest rival is the margin.
    """
    verdict = goal(outputs)
    require(verdict.margin.shape == verdict.loss.shape == (len(goal),), "a verdict has one entry per row")
    require(torch.equal(verdict.margin > 0, won), "the margin's sign is not who has won")
    rows = torch.arange(len(goal)).flip(0)
    for chosen in (rows, rows % 2 == 0):
        part = goal.take(chosen)(outputs[chosen])
        require(torch.equal(part.margin, verdict.margin[chosen]), "a row is judged otherwise among other rows")
    rivals = goal.rivals(outputs, 3)
    require(torch.equal(rivals.amax(1) > 0, won), "the rivals and the margin disagree on who has won")
    _check_ascent(goal, outputs)


def _check_ascent(goal: Any, outputs: Tensor) -> None:
    variable = outputs.double().clone().requires_grad_()
    loss = goal(variable).loss
    (grad,) = torch.autograd.grad(loss.sum(), variable)
    require(grad.isfinite().all(), "the loss has a gradient that is not finite")
    with torch.no_grad():
        length = grad.flatten(1).norm(dim=1).clamp_min(1e-300).view(-1, *[1] * (grad.ndim - 1))
        raised = goal(variable + 1e-6 * grad / length).loss
    require((raised >= loss - 1e-12).all(), "the loss falls along its own gradient")
