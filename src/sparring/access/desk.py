"""The desk behind an oracle: it admits a question, puts it to the target, and has the ledger write the answer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import AccessError, LockedOut
from ..goals import Goal, Loss, Verdict
from .ledger import Ledger
from .oracle import Gradient, Jacobian, Objective, Paired, Render

Answer = Callable[[Tensor], Any]


@dataclass(frozen=True)
class Asked:
    """What was admitted of one question of `count` images."""

    count: int
    chosen: Tensor | None  # (Q,) positions within the question; None: all of it
    rows: Tensor | None  # (Q,) rows they belong to; None: one image per row, in order
    rank: Tensor | None  # (Q,) how many images of the same row come before; None: no row comes twice

    @property
    def empty(self) -> bool:
        return self.chosen is not None and len(self.chosen) == 0

    def up_to(self, count: int) -> Asked:
        """The first `count` of what was admitted."""
        device = None if self.rows is None else self.rows.device
        chosen = torch.arange(self.count, device=device) if self.chosen is None else self.chosen
        rows = chosen if self.rows is None else self.rows
        return Asked(self.count, chosen[:count], rows[:count], None if self.rank is None else self.rank[:count])

    def of(self, values: Tensor) -> Tensor:
        return values if self.chosen is None else values[self.chosen]

    def filled(self, values: Tensor, blank: float) -> Tensor:
        """The answers in their places, `blank` where there was none."""
        if self.chosen is None:
            return values
        whole = values.new_full((self.count, *values.shape[1:]), blank)
        return whole.index_copy(0, self.chosen, values)

    def spread(self, verdict: Verdict, blank: float) -> Verdict:
        if self.chosen is None:
            return verdict
        return Verdict(self.filled(verdict.margin, blank), self.filled(verdict.loss, blank))


class Desk:
    """Speaks for `target` on the rows in play.

    `live` (B,) are the positions of those rows in the ledger. At most `batch_size` images go to the target at
    once. With `skip_won` rows that were won earlier in a step are not asked again.
    """

    def __init__(self, target: Answer, goal: Goal, ledger: Ledger, batch_size: int, skip_won: bool) -> None:
        self.target, self.goal, self.ledger = target, goal, ledger
        self.batch_size, self.skip_won = batch_size, skip_won
        self.live = torch.arange(len(ledger.x), device=ledger.x.device)
        self.flat = True  # is there a row in play whose gradients were all zero so far?

    def narrow(self, kept: Tensor) -> None:
        """Go on with the rows of the mask `kept` (B,) only."""
        self.live, self.goal = self.live[kept], self.goal.take(kept)

    def open(self) -> Tensor:
        return ~self.ledger.closed()[self.live]

    def judge(self, x: Tensor, rows: Tensor | None) -> Verdict:
        asked = self._admit(len(x), rows)
        images = asked.of(x.detach())
        parts: list[Verdict] = []
        try:
            for goal, outputs in self._answers(asked, images):
                parts.append(goal(outputs))
        except LockedOut:  # what was answered before counts
            verdict = _joined(parts, x)
            self._write(asked.up_to(len(verdict.margin)), images[: len(verdict.margin)], verdict, 0)
            raise
        verdict = _joined(parts, x)
        self._write(asked, images, verdict, 0)
        return asked.spread(verdict, -torch.inf)

    def rank(self, x: Tensor, k: int, rows: Tensor | None) -> Tensor:
        asked = self._admit(len(x), rows)
        images = asked.of(x.detach())
        parts = [(goal(outputs), goal.ways(outputs, k)) for goal, outputs in self._answers(asked, images)]
        self._write(asked, images, _joined([verdict for verdict, _ in parts], x), 0)
        none = self.live.new_zeros(0, 1)
        return asked.filled(torch.cat([ways for _, ways in parts]) if parts else none, 0)

    def _answers(self, asked: Asked, images: Tensor) -> Iterator[tuple[Goal, Any]]:
        """The outputs for what was admitted, with the goal that judges them, without slopes."""
        goal = self.goal if asked.rows is None else self.goal.take(asked.rows)
        with torch.no_grad():
            for start in range(0, len(images), self.batch_size):
                part = torch.arange(start, min(start + self.batch_size, len(images)), device=images.device)
                chosen = goal if len(part) == len(images) else goal.take(part)
                yield chosen, self.target(images[start : start + self.batch_size])

    def climb(
        self,
        variable: Tensor,
        render: Render | None,
        objective: Objective | None,
        steer: Loss | None,
        rows: Tensor | None,
    ) -> Gradient:
        asked = self._admit(variable.shape[0], rows, backwards=1)
        goal = self.goal if asked.rows is None else self.goal.take(asked.rows)
        if steer is not None:
            goal = goal.steered_by(steer if asked.chosen is None else steer.take(asked.chosen))
        variable = variable.detach().requires_grad_()
        with torch.enable_grad():
            images = variable if render is None else render(variable)
            if asked.empty:  # many models cannot take a batch of no images
                none = _unanswered(asked.count, images)
                return Gradient(none, none.loss, torch.zeros_like(variable), images.detach())
            judged, outputs = _parted(self.target(asked.of(images)))
            loss = goal.ascent(outputs)
            margin = goal.margin(outputs.detach() if objective is None and isinstance(outputs, Tensor) else outputs)
            verdict = asked.spread(Verdict(margin, loss), 0.0)
            value = verdict.loss if objective is None else objective(verdict, images)
            remark = goal.remark(outputs)
        if remark is not None:
            self.ledger.notes.add(remark)
        grad = slope_of(asked.of(value), variable)
        answered = Verdict(margin.detach(), loss.detach()) if judged is None else goal(judged)
        self._write(asked, asked.of(images.detach()), answered, 1)
        grad = self._finite(grad, rows)
        return Gradient(asked.spread(answered, -torch.inf), value.detach(), grad, images.detach())

    def differ(self, x: Tensor, k: int, rows: Tensor | None) -> Jacobian:
        asked = self._admit(len(x), rows, backwards=k)
        if asked.empty:
            none = _unanswered(asked.count, x)
            return Jacobian(none, none.margin[:, None], torch.zeros_like(x, requires_grad=False)[:, None])
        goal = self.goal if asked.rows is None else self.goal.take(asked.rows)
        images = asked.of(x.detach()).requires_grad_()
        with torch.enable_grad():
            judged, outputs = _parted(self.target(images))
            verdict, margins = goal(outputs), goal.rivals(outputs, k)
        count = margins.shape[1]
        slopes = [slope_of(margins[:, j], images, again=j + 1 < count) for j in range(count)]
        verdict = Verdict(verdict.margin.detach(), verdict.loss.detach()) if judged is None else goal(judged)
        self._write(asked, images.detach(), verdict, count)
        grads = torch.stack([self._finite(g, asked.rows) for g in slopes], dim=1)
        margins = asked.filled(margins.detach(), -torch.inf)
        return Jacobian(asked.spread(verdict, -torch.inf), margins, asked.filled(grads, 0.0))

    def _positions(self, rows: Tensor | None) -> Tensor:
        return self.live if rows is None else self.live[rows]

    def _admit(self, count: int, rows: Tensor | None, backwards: int = 0) -> Asked:
        """Which of `count` images may be asked; the rows that the budget refuses are closed."""
        device = self.live.device
        rank = None if rows is None else torch.arange(count, device=device) - torch.searchsorted(rows, rows)
        budget, ledger, positions = self.ledger.budget, self.ledger, self._positions(rows)
        limited = budget.forwards is not None or budget.backwards is not None
        if not limited and not self.skip_won:
            return Asked(count, None, rows, rank)
        admitted = ~(ledger.closed() if self.skip_won else ledger.spent())[positions]
        order = 1 if rank is None else rank + 1
        if budget.forwards is not None:
            admitted &= ledger.forwards[positions] + order <= budget.forwards
        if budget.backwards is not None and backwards:
            affordable = ledger.backwards[positions] + order * backwards <= budget.backwards
            ledger.refused[positions[~affordable]] = True
            ledger.stirred = True
            admitted &= affordable
        if bool(admitted.all()):
            return Asked(count, None, rows, rank)
        chosen = admitted.nonzero().squeeze(1)
        kept = chosen if rows is None else rows[chosen]
        return Asked(count, chosen, kept, None if rank is None else rank[chosen])

    def _write(self, asked: Asked, images: Tensor, verdict: Verdict, backwards: int) -> None:
        if images.shape[0]:
            self.ledger.record(self._positions(asked.rows), asked.rank, images, verdict, backwards)

    def _finite(self, grad: Tensor, rows: Tensor | None) -> Tensor:
        """The gradient with its non-finite rows zero; what was zero or not finite is noted."""
        if not (grad.is_cuda or self.flat) and math.isfinite(float(grad.sum())):
            return grad  # the usual step: nothing to note
        peak = grad.flatten(1).abs().amax(1)
        positions, finite = self._positions(rows), peak.isfinite()
        self.ledger.note(self.ledger.sloped, positions, rows is not None, peak > 0)
        self.flat = grad.is_cuda or not bool(self.ledger.sloped[self.live].all())
        if grad.is_cuda or not bool(finite.all()):
            self.ledger.note(self.ledger.non_finite, positions, rows is not None, ~finite)
            return torch.nan_to_num(grad, nan=0.0, posinf=0.0, neginf=0.0)
        return grad


def slope_of(value: Tensor, variable: Tensor, again: bool = False) -> Tensor:
    """d sum(value) / d variable."""
    grad = None
    if value.requires_grad:
        ones = torch.ones_like(value)
        (grad,) = torch.autograd.grad(value, variable, ones, retain_graph=again, allow_unused=True)
    if grad is None:
        raise AccessError(
            "the target gives no gradient: its outputs do not depend on the images differentiably; "
            "use a score or decision attack (Square, HopSkipJump)"
        )
    return grad.detach()


def _parted(outputs: Any) -> tuple[Any, Any]:
    """The outputs that judge, where they are others than those that are climbed."""
    return (outputs.judged, outputs.climbed) if isinstance(outputs, Paired) else (None, outputs)


def _unanswered(count: int, like: Tensor) -> Verdict:
    blank = like.new_full((count,), -torch.inf).detach()
    return Verdict(blank, blank)


def _joined(parts: list[Verdict], x: Tensor) -> Verdict:
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return Verdict(x.new_empty(0), x.new_empty(0))
    return Verdict(torch.cat([p.margin for p in parts]), torch.cat([p.loss for p in parts]))
