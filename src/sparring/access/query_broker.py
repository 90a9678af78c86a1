"""The query broker behind an oracle: it enforces the budget, calls the target, and records the answer in the ledger."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..errors import AccessError, LockedOut, user_code
from ..goals import Climb, Goal, Terms, Verdict, mean_terms
from ..random import Key
from ..rows import detach, join, take
from ..shapes import BoolPerRow, FloatBatch, IntPerRow, IntPerWay, RowSelection
from .ledger import Keep, Ledger
from .oracle import Decoupled, Gradient, Jacobian, Objective, Render, VariableBatch

Answer = Callable[..., Any]  # of images, and of a key where answers are random


@dataclass(frozen=True)
class AdmittedQuery:
    """The images of a query of `count` images that the budget admits."""

    count: int
    chosen: Tensor | None  # (Q,) positions within the query; None: all of it
    rows: Tensor | None  # (Q,) rows they belong to; None: one image per row, in order
    rank: Tensor | None  # (Q,) how many images of the same row come before; None: no row comes twice

    @property
    def empty(self) -> bool:
        return self.chosen is not None and len(self.chosen) == 0

    def up_to(self, count: int) -> AdmittedQuery:
        """Return the first `count` of the admitted images."""
        device = None if self.rows is None else self.rows.device
        chosen = torch.arange(self.count, device=device) if self.chosen is None else self.chosen
        rows = chosen if self.rows is None else self.rows
        return AdmittedQuery(self.count, chosen[:count], rows[:count], None if self.rank is None else self.rank[:count])

    def of(self, values: Tensor) -> Tensor:
        return values if self.chosen is None else values[self.chosen]

    def filled(self, values: Tensor, blank: float) -> Tensor:
        """Return values for the whole query: the answers, and `blank` where there was none."""
        if self.chosen is None:
            return values
        whole = values.new_full((self.count, *values.shape[1:]), blank)
        return whole.index_copy(0, self.chosen, values)

    def spread(self, verdict: Verdict, blank: float) -> Verdict:
        if self.chosen is None:
            return verdict
        return Verdict(self.filled(verdict.margin, blank), self.filled(verdict.loss, blank))


class QueryBroker:
    """Answers the queries of an oracle by calling `target`, and records every answer in the ledger.

    `live` (B,) are the positions in the ledger of the rows that are still attacked; `region`, `key` and `goal` are
    narrowed to them. At most `batch_size` images go to the target at once. With `skip_won`, rows that succeeded earlier
    in a step are not queried again. A `stochastic` target is called with a key per image, made of the row's key and the
    number of passes that the row has had. An answer is then an expectation over `draws` passes (EOT): the mean of
    losses and gradients, and the median of the margins.
    """

    def __init__(
        self,
        target: Answer,
        goal: Goal,
        ledger: Ledger,
        batch_size: int,
        skip_won: bool,
        key: Key | None = None,
        stochastic: bool = False,
        draws: int = 1,
        context: Any = None,
    ) -> None:
        self.target, self.goal, self.ledger, self.context = target, goal, ledger, context
        self.batch_size, self.skip_won, self.stochastic, self.draws = batch_size, skip_won, stochastic, draws
        ledger.draws = draws
        self.live, self.region = torch.arange(len(ledger.x), device=ledger.x.device), ledger.region
        self.key = Key(self.live, 0) if key is None else key
        self.flat = True  # is there an active row whose gradients were all zero so far?
        self.climbed: Tensor | None = None  # (B, ...) images of the last gradient query, where it had one for each row

    def narrow(self, kept: RowSelection) -> None:
        """Drop all rows but `kept`: a mask (B,), or indices of rows."""
        self.live, self.goal, self.context = self.live[kept], take(self.goal, kept), take(self.context, kept)
        self.region, self.key = self.region.take(kept), take(self.key, kept)
        self.climbed = None if self.climbed is None else self.climbed[kept]

    def open(self) -> BoolPerRow:
        return ~self.ledger.closed()[self.live]

    def score(self, x: FloatBatch, rows: IntPerRow | None) -> Verdict:
        """Return the verdict of each image, without gradients."""
        asked = self._admit(len(x), rows)
        images = asked.of(x.detach())
        drawn: list[Verdict] = []
        for key in self._keys(asked):
            parts: list[Verdict] = []
            try:
                for goal, outputs in self._answers(asked, images, key):
                    parts.append(goal(outputs))
            except LockedOut:  # the answers before it count
                verdict = _joined(parts, x)
                self._write(asked.up_to(len(verdict.margin)), images[: len(verdict.margin)], verdict, 0)
                raise
            drawn.append(_joined(parts, x))
        verdict = expected(drawn)
        self._write(asked, images, verdict, 0)
        return asked.spread(verdict, -torch.inf)

    def nearest_rivals(self, x: FloatBatch, k: int, rows: IntPerRow | None) -> IntPerWay:
        """Return the indices (Q, <= k) of the nearest rivals, by the mean of the terms over the draws."""
        asked = self._admit(len(x), rows)
        images = asked.of(x.detach())
        verdicts: list[Verdict] = []
        terms: list[list[Terms]] = []
        for key in self._keys(asked):
            parts = [(goal(outputs), goal.terms(outputs)) for goal, outputs in self._answers(asked, images, key)]
            verdicts.append(_joined([verdict for verdict, _ in parts], x))
            terms.append([one for _, one in parts])
        self._write(asked, images, expected(verdicts), 0)
        places = [mean_terms(list(each)).nearest(k)[1] for each in zip(*terms, strict=True)]
        return asked.filled(torch.cat(places) if places else self.live.new_zeros(0, 1), 0)

    def _keys(self, asked: AdmittedQuery) -> list[Key | None]:
        """Return for each draw the key of the admitted images; [None] for a deterministic target."""
        if not self.stochastic:
            return [None] * self.draws
        key = self._fresh(self.key, asked)
        return [key.reseeded(draw) for draw in range(self.draws)]

    def _fresh(self, key: Key, asked: AdmittedQuery) -> Key:
        """Return a key for each image that no earlier query of its row has used."""
        turn = self.ledger.forwards[self._positions(asked.rows)]
        theirs = key if asked.rows is None else take(key, asked.rows)
        return theirs.at(turn if asked.rank is None else turn + asked.rank * self.draws)

    def _put(self, images: Tensor, key: Key | None, context: Any) -> Any:
        if context is not None:
            return self.target(images, key, context)
        return self.target(images) if key is None else self.target(images, key)

    def _beside(self, asked: AdmittedQuery) -> Any:
        """Return the context of the admitted images."""
        return self.context if asked.rows is None else take(self.context, asked.rows)

    def _answers(self, asked: AdmittedQuery, images: Tensor, key: Key | None) -> Iterator[tuple[Goal, Any]]:
        """Yield the goal and the outputs of the admitted images, batch by batch, without gradients."""
        goal, context = self.goal if asked.rows is None else take(self.goal, asked.rows), self._beside(asked)
        with torch.no_grad():
            for start in range(0, len(images), self.batch_size):
                part = torch.arange(start, min(start + self.batch_size, len(images)), device=images.device)
                whole = len(part) == len(images)
                chosen, beside = (goal, context) if whole else (take(goal, part), take(context, part))
                theirs = None if key is None else replace(key, indices=key.indices[part])
                yield chosen, self._put(images[start : start + self.batch_size], theirs, beside)

    def gradient(
        self,
        variable: VariableBatch,
        render: Render | None,
        objective: Objective | None,
        loss: Climb | None,
        rows: IntPerRow | None,
    ) -> Gradient:
        """Return the gradient of the objective, by default of `loss`, or else of the goal's own loss."""
        asked = self._admit(variable.shape[0], rows, backwards=1)
        goal = self.goal if asked.rows is None else take(self.goal, asked.rows)
        if loss is None and self.draws > 1:
            loss = goal.loss.in_sum()
        elif asked.chosen is not None:
            loss = take(loss, asked.chosen)
        if asked.empty:  # many models cannot take a batch of no images
            images = variable.detach() if render is None else render(variable.detach())
            none = _unanswered(asked.count, images)
            return Gradient(none, none.loss, torch.zeros_like(variable), images)
        drawn = [self._climbed(variable, goal, asked, render, objective, loss, key) for key in self._keys(asked)]
        one, judged, slope = drawn[0]
        if len(drawn) > 1:
            value = torch.stack([each.value for each, *_ in drawn]).mean(0)
            grad = torch.stack([each.grad for each, *_ in drawn]).mean(0)
            one = Gradient(expected([each.verdict for each, *_ in drawn]), value, grad, one.images)
            judged = expected([verdict for _, verdict, _ in drawn])
            slopes = [each for *_, each in drawn if each is not None]
            slope = torch.stack(slopes).amax(0) if slopes else None
        self._write(asked, asked.of(one.images), judged, 1)
        self.climbed = one.images if rows is None else None
        grad = self._finite(one.grad, rows, slope)
        return Gradient(asked.spread(one.verdict, -torch.inf), one.value, grad, one.images)

    def _climbed(
        self,
        variable: Tensor,
        goal: Goal,
        asked: AdmittedQuery,
        render: Render | None,
        objective: Objective | None,
        loss: Climb | None,
        key: Key | None,
    ) -> tuple[Gradient, Verdict, Tensor | None]:
        """Make one forward and one backward pass; return the gradient, and the verdict for the ledger.

        With an `objective`, which may have a gradient of its own, the third is the largest component (Q,) of what comes
        through the target. With `Keep.HIGHEST_LOSS` the ledger compares the goal's own loss, whatever was ascended.
        """
        variable = variable.detach().requires_grad_()
        with torch.enable_grad():
            images = variable if render is None else render(variable)
            seen = asked.of(images) if objective is None else asked.of(images).view_as(asked.of(images))
            judged, outputs = _parted(self._put(seen, key, self._beside(asked)))
            known = None if objective is not None else goal.verdict_and_gradient(outputs, loss)
            if known is not None:
                verdict, value = known[0], asked.filled(known[0].loss, 0.0)
            elif objective is None:
                verdict = Verdict(goal.margin(detach(outputs)), goal.loss_of(outputs, loss))
                value = asked.filled(verdict.loss, 0.0)
            else:
                verdict, penalty = goal(outputs, loss), goal.penalty(outputs)
                aimed = verdict if penalty is None else Verdict(verdict.margin - penalty, verdict.loss)
                value = objective(asked.spread(aimed, 0.0), images)
        slope = None
        if objective is not None:
            grad, through = gradients_of(asked.of(value), (variable, seen))
            slope = asked.filled(torch.linalg.vector_norm(through.flatten(1), torch.inf, dim=1), 0.0)
        elif known is None:
            grad = gradient_of(asked.of(value), variable)
        else:
            grad = gradient_of(outputs, variable, known[1])
        answered = noted = Verdict(_cut(verdict.margin), _cut(verdict.loss)) if judged is None else goal(judged)
        if judged is None and loss is not None and self.ledger.keep is Keep.HIGHEST_LOSS:
            noted = Verdict(answered.margin, goal.loss_of(detach(outputs)))
        return Gradient(answered, _cut(value), grad, _cut(images)), noted, slope

    def jacobian(self, x: FloatBatch, k: int, rows: IntPerRow | None) -> Jacobian:
        """Return the margins of the k nearest rivals and their gradients, by the mean of the terms over the draws."""
        asked = self._admit(len(x), rows, backwards=k)
        if asked.empty:
            none = _unanswered(asked.count, x)
            return Jacobian(none, none.margin[:, None], torch.zeros_like(x, requires_grad=False)[:, None])
        goal = self.goal if asked.rows is None else take(self.goal, asked.rows)
        images = asked.of(x.detach()).requires_grad_()
        with torch.enable_grad():
            context = self._beside(asked)
            drawn = [_parted(self._put(images, key, context)) for key in self._keys(asked)]
            margins, _ = mean_terms([goal.terms(outputs) for _, outputs in drawn]).nearest(k)
        count = margins.shape[1]
        slopes = [gradient_of(margins[:, j], images, again=j + 1 < count) for j in range(count)]
        with torch.no_grad():
            verdict = expected([goal(outputs if judged is None else judged) for judged, outputs in drawn])
        self._write(asked, images.detach(), verdict, count)
        self.climbed = x.detach() if rows is None else None
        grads = torch.stack([self._finite(g, asked.rows) for g in slopes], dim=1)
        margins = asked.filled(margins.detach(), -torch.inf)
        return Jacobian(asked.spread(verdict, -torch.inf), margins, asked.filled(grads, 0.0))

    def _positions(self, rows: Tensor | None) -> Tensor:
        return self.live if rows is None else self.live[rows]

    def _admit(self, count: int, rows: Tensor | None, backwards: int = 0) -> AdmittedQuery:
        """Select which of `count` images may be queried; rows whose budget is too small get no more answers."""
        rank = None if rows is None else torch.arange(count, device=rows.device) - torch.searchsorted(rows, rows)
        budget, ledger = self.ledger.budget, self.ledger
        limited = budget.forwards is not None or budget.backwards is not None
        if not limited and not (self.skip_won and ledger.changed):  # else all active rows are open
            return AdmittedQuery(count, None, rows, rank)
        positions = self._positions(rows)
        admitted = ~(ledger.closed() if self.skip_won else ledger.spent())[positions]
        order = self.draws if rank is None else (rank + 1) * self.draws
        if budget.forwards is not None:
            admitted &= ledger.forwards[positions] + order <= budget.forwards
        if budget.backwards is not None and backwards:
            affordable = ledger.backwards[positions] + order * backwards <= budget.backwards
            ledger.over_budget[positions[~affordable]] = True
            ledger.changed = True
            admitted &= affordable
        if bool(admitted.all()):
            return AdmittedQuery(count, None, rows, rank)
        chosen = admitted.nonzero().squeeze(1)
        kept = chosen if rows is None else rows[chosen]
        return AdmittedQuery(count, chosen, kept, None if rank is None else rank[chosen])

    def _write(self, asked: AdmittedQuery, images: Tensor, verdict: Verdict, backwards: int) -> None:
        if images.shape[0]:
            self.ledger.record(self._positions(asked.rows), asked.rank, images, verdict, backwards)

    def _finite(self, grad: Tensor, rows: Tensor | None, slope: Tensor | None = None) -> Tensor:
        """Return the gradient with zeros for what is not finite, and record zero and non-finite gradients.

        `slope` (Q,) is the largest component of what came through the target, where that is not the gradient itself.
        """
        defers = self.ledger.defers and rows is None
        if not (defers or self.flat) and math.isfinite(float(grad.sum())):
            return grad  # the usual step: nothing to note
        peak = torch.linalg.vector_norm(grad.flatten(1), torch.inf, dim=1)
        if slope is not None:
            peak = torch.where(peak.isfinite(), slope, peak)
        self.ledger.slope(self._positions(rows), rows is not None, peak)
        if defers:
            return torch.nan_to_num(grad, nan=0.0, posinf=0.0, neginf=0.0)
        self.flat = not bool(self.ledger.nonzero_gradient[self.live].all())
        finite = bool(peak.isfinite().all())
        return grad if finite else torch.nan_to_num(grad, nan=0.0, posinf=0.0, neginf=0.0)


def expected(drawn: list[Verdict]) -> Verdict:
    """Return the mean loss and the median margin of several answers: above 0 where most of them are successes."""
    if len(drawn) == 1:
        return drawn[0]
    margins, losses = torch.stack([one.margin for one in drawn]), torch.stack([one.loss for one in drawn])
    return Verdict(margins.median(0).values, losses.mean(0))


def gradient_of(value: Tensor, variable: Tensor, weights: Tensor | None = None, again: bool = False) -> Tensor:
    """Return d sum(weights * value) / d variable; all weights are 1 unless given."""
    return gradients_of(value, (variable,), weights, again)[0]


def gradients_of(
    value: Tensor, variables: tuple[Tensor, ...], weights: Tensor | None = None, again: bool = False
) -> tuple[Tensor, ...]:
    """Return d sum(weights * value) / d variable for each of several; AccessError where one has no part in it."""
    grads: tuple[Tensor | None, ...] = (None,)
    if value.requires_grad:
        weights = torch.ones_like(value) if weights is None else weights
        with user_code("the backward pass of the model"):
            grads = torch.autograd.grad(value, variables, weights, retain_graph=again, allow_unused=True)
    found = tuple(_cut(grad) for grad in grads if grad is not None)
    if len(found) < len(variables):
        raise AccessError(
            "the target gives no gradient: its outputs do not depend on the images differentiably; "
            "use a score or decision attack (Square, HopSkipJump)"
        )
    return found


def _cut(tensor: Tensor) -> Tensor:
    """Return the tensor without a graph: itself where it has none, since in each step every operation counts."""
    return tensor.detach() if tensor.requires_grad else tensor


def _parted(outputs: Any) -> tuple[Any, Any]:
    """Return the outputs that decide on success (None: the same ones), and those that give the gradient."""
    return (outputs.judged_outputs, outputs.gradient_outputs) if isinstance(outputs, Decoupled) else (None, outputs)


def _unanswered(count: int, like: Tensor) -> Verdict:
    blank = like.new_full((count,), -torch.inf).detach()
    return Verdict(blank, blank)


def _joined(parts: list[Verdict], x: Tensor) -> Verdict:
    return join(parts) if parts else Verdict(x.new_empty(0), x.new_empty(0))
