"""The attack on one batch, which can be stopped after any step and resumed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..access import Attack, Batch, Budget, Keep, Ledger, QueryBroker, Reason
from ..errors import GoalError, LockedOut
from ..geometry import rowwise
from ..geometry.region import Region
from ..goals import Goal, Terms
from ..random import Key
from ..rows import flatten, rebuild, take
from ..targets import Target, answered, valid_rows
from .options import Engine
from .outcome import Outcome, Passes

LOOK, CONFIRM = 1 << 40, 1 << 41  # the first draws of the engine; those of attacks are numbered from 0
UNDECLARED = (
    "the model is random and does not say so: the same images got two answers, and a success counts by one; "
    "pass Classifier(model, stochastic=True)"
)
STALLED = 20  # steps in which a row without a gradient does not move, after which it ends
STILL = 0.01  # of the inputs' scale: a smaller move is none
NUDGES = (1.001, 1.01)  # factors that enlarge an example which fails confirmation by rounding


class Search:
    """The attack on the rows of `region`, already on the target's device, with data set positions `indices`."""

    def __init__(
        self,
        attack: Attack[Any, Any],
        target: Target[Any],
        goal: Goal,
        region: Region,
        indices: Tensor,
        keep: Keep,
        budget: Budget,
        engine: Engine,
        context: Any = None,
    ) -> None:
        self.attack, self.target, self.goal, self.engine = attack, target, goal, engine
        self.context = context
        self.x, self.region, self.key, self.seconds, self.t = region.x, region, Key(indices, engine.seed), 0.0, 0
        self.random = target.stochastic
        if self.random and keep is Keep.FIRST:  # a single lucky answer must not end the search
            keep = Keep.HIGHEST_MARGIN
        self.ledger = Ledger(region, keep, budget, attack.confidence, attack.measure)
        skip_won = engine.compact and not self.ledger.defers
        self.broker = QueryBroker(
            self._answer, goal, self.ledger, engine.batch_size, skip_won, self.key, self.random, target.draws, context
        )
        self.rate = torch.zeros(len(self.x), device=self.x.device)  # share of fresh answers that meet the goal
        self.limited = budget != Budget()
        self.every = engine.check_done_every or (8 if self.ledger.defers else 1)
        self.state: Any = None
        self.locked = False  # has the target locked the attacker out?
        self.still = torch.zeros_like(self.ledger.checks)  # (N,) steps without a gradient near `anchor`
        self.anchor: Tensor | None = None  # (N, ...) where each row without a gradient stays

    def _answer(self, images: Tensor, key: Key | None = None, context: Any = None) -> Any:
        with self.engine.precision(self.x.device):
            return answered(self.target, images, key, context)

    def _looked(self, x: Tensor, rows: Tensor, first: int, whole: Goal | None = None) -> tuple[Tensor, Tensor]:
        """Evaluate images for the engine; return margins (Q,), and the share (Q,) of answers that meet the goal."""
        bar = self.ledger.confidence if first == CONFIRM else 0.0
        if not self.random:
            margin = self._ask(x, rows, None, whole)
            return margin, (margin > bar).float()
        key = replace(self.key, indices=self.key.indices[rows])
        drawn = []
        for look in range(self.engine.confirmation_samples):
            drawn.append(self._ask(x, rows, key.reseeded(first + look), whole if look == 0 else None))
        margins = torch.stack(drawn)
        return margins.median(0).values, (margins > bar).float().mean(0)

    def _ask(self, x: Tensor, rows: Tensor, key: Key | None, whole: Goal | None) -> Tensor:
        """Return the margins of images on the deployed target, without autocast; NaN where it gives no answer.

        With `whole`, the goal of the entire run, target and goal are checked on the first outputs.
        """
        goal, margins, target = take(self.goal, rows), [], self.target.confirming_target
        context = take(self.context, rows)
        for start in range(0, len(x), self.engine.batch_size):
            part = torch.arange(start, min(start + self.engine.batch_size, len(x)), device=x.device)
            with torch.no_grad():
                theirs = None if key is None else replace(key, indices=key.indices[part])
                first = whole is not None and start == 0
                before = drawn_so_far(x.device) if first and key is None else ()
                outputs = answered(target, x[part], theirs, take(context, part))
                if whole is not None and first:
                    target.check(outputs)
                    goal.check(outputs, whole)
                    check_terms(take(goal, part), outputs)
                margin = take(goal, part).margin(outputs)
                drawn = zip(before, drawn_so_far(x.device), strict=False) if before else ()
                if any(not torch.equal(then, now) for then, now in drawn):
                    self._ask_again(x[part], rows[part], take(goal, part), take(context, part), margin)
                margins.append(margin.masked_fill(~valid_rows(outputs, target.task), torch.nan))
            self.ledger.checks[rows[part]] += 1
        return torch.cat(margins) if margins else x.new_empty(0)

    def _ask_again(self, x: Tensor, rows: Tensor, goal: Goal, context: Any, margin: Tensor) -> None:
        """Note where a target that drew random numbers undeclared answers the same images otherwise now."""
        again = goal.margin(answered(self.target.confirming_target, x, None, context))
        self.ledger.checks[rows] += 1
        if not torch.equal(again.nan_to_num(), margin.nan_to_num()):
            self.ledger.notes.add(UNDECLARED)

    @property
    def live(self) -> int:
        return self.broker.live.shape[0]

    @property
    def over(self) -> bool:
        return self.t >= self.attack.total_steps or self.live == 0

    @contextmanager
    def _while_answered(self) -> Iterator[None]:
        """End the search where the target locks the attacker out; what was found before is kept."""
        try:
            yield
        except LockedOut as error:
            ledger = self.ledger
            ledger.settle()
            ledger.notes.add(str(error))
            ledger.locked_out |= ~(ledger.already | ledger.finished | ledger.spent() | ledger.won)
            self.locked = True
            self.broker.narrow(torch.zeros_like(self.broker.live, dtype=torch.bool))

    def begin(self, start: Tensor | None, whole: Goal | None) -> None:
        """Evaluate the clean images, and leave out the rows on which the goal is met already.

        With `Keep.HIGHEST_LOSS`, as in training, they are attacked like the others.
        """
        with self._while_answered():
            self._begin(start, whole)

    def _begin(self, start: Tensor | None, whole: Goal | None) -> None:
        ledger, everything = self.ledger, torch.arange(len(self.x), device=self.x.device)
        margin, share = self._looked(self.x, everything, LOOK, whole)
        if ledger.keep is not Keep.HIGHEST_LOSS:
            ledger.already |= share > 0.5
            self.rate = torch.where(ledger.already, share, self.rate)
        ledger.non_finite |= margin.isnan()
        standing = ~(ledger.already | ledger.non_finite)
        self.broker.narrow(standing)
        oracle = self.attack.access(self.broker)
        if self.live:
            first = None if start is None else start[standing]
            self.state = self.attack.init(oracle, Batch(self.x[standing], take(self.key, standing), first))
            self._drop()

    def advance(self) -> None:
        """Make one step, then drop the rows that are done."""
        with self._while_answered():
            self._step()

    def _step(self) -> None:
        self.state = self.attack.step(self.attack.access(self.broker), self.state, self.t)
        self.t += 1
        done = self.attack.done(self.state)
        if done is not None:  # recorded at once, so that `check_done_every` changes no result
            self.ledger.finish(self.broker.live, done)
        self.ledger.changed |= done is not None or self.attack.stuck(self.state) is not None
        if self.t % self.every == 0 and not (self.random or self.attack.begins_again):
            self._end_stalled()
        if self.t % self.every == 0 or self.t == self.attack.total_steps:
            self._drop()

    def _end_stalled(self) -> None:
        """End the rows that will not move: every gradient so far was exactly zero, and so will the next one be."""
        broker, ledger = self.broker, self.ledger
        images, live = broker.climbed, broker.live
        if not broker.flat or images is None:
            return
        flat = ledger.zero_gradient[live]
        broker.flat = bool(flat.any())
        if not broker.flat:
            return
        if self.anchor is None:
            self.anchor = self.x.clone()
        moved = (images - self.anchor[live]).flatten(1).abs().amax(1) > STILL * self.region.inputs.scale
        self.anchor[live] = torch.where(rowwise(moved, images), images, self.anchor[live])
        self.still[live] = torch.where(flat & ~moved, self.still[live] + self.every, 0)
        ledger.finish(live, self.still[live] >= STALLED)
        ledger.changed = True

    def _drop(self) -> None:
        ledger, live = self.ledger, self.broker.live
        if not (ledger.changed or self.limited or ledger.defers):
            return
        ledger.changed = False
        stuck = self.attack.stuck(self.state)
        if stuck is not None:
            ledger.settle()
            ledger.no_start[live] |= stuck & ~(ledger.won | ledger.spent())[live]
        leaving = ledger.closed(won=self.engine.compact)[live]
        if bool(leaving.any()):
            self.broker.narrow(~leaving)
            self.state = take(self.state, ~leaving)

    def end(self) -> Outcome:
        """Call `Attack.finish`, confirm every success on the deployed target, and return the outcome."""
        ledger = self.ledger
        if self.live:
            with self._while_answered():
                self.attack.finish(self.attack.access(self.broker), self.state)
        ledger.settle()
        any_kept = ledger.keep in (Keep.HIGHEST_LOSS, Keep.HIGHEST_MARGIN)
        kept = ledger.won | (ledger.value > -torch.inf) if any_kept else ledger.won
        found = (kept & ~ledger.already if ledger.keep is Keep.HIGHEST_MARGIN else ledger.won).nonzero().squeeze(1)
        won = ledger.won.clone()
        if len(found) and not self.locked:
            with self._while_answered():
                self.rate[found] = self._confirmed(found)
                won[found] = self.rate[found] > 0.5
        if self.locked:
            won = torch.zeros_like(won)
            self.rate = torch.where(ledger.already, self.rate, 0.0)
            if len(found):
                ledger.notes.add(f"successes before the lock-out are not confirmed, and count as none: {len(found)}")
        lost = ledger.won & ~won
        kept = kept if any_kept or self.locked else won
        examples = torch.where(kept.view(-1, *[1] * (self.x.ndim - 1)), ledger.best, self.x)
        success = won | ledger.already
        size = torch.where(success, self.region.norm(examples - self.x), torch.inf)
        first = torch.where(won, ledger.queries_to_success, -1)
        return Outcome(
            examples=examples,
            success=success,
            distance=size,
            eps=self.region.eps,
            passes=Passes(ledger.forwards, ledger.backwards, ledger.checks),
            queries_to_success=first,
            reason=self._reasons(won, lost),
            success_rate=self.rate,
            zero_gradient=ledger.zero_gradient,
            seconds=self.seconds,
            attack=self.attack.name,
            goal=type(self.goal).__name__,
            notes=tuple(sorted(ledger.notes)),
        )

    def _confirmed(self, found: Tensor) -> Tensor:
        """Return (Q,) the share of answers in which the rows `found` succeed again; 0 or 1 for a deterministic target.

        A minimum-norm attack ends so close to the decision boundary that the rounding of another batch size decides.
        So where its example fails, a slightly larger one is tried.
        """
        ledger, region = self.ledger, self.region.take(found)
        margin, share = self._looked(ledger.best[found], found, CONFIRM)
        ledger.non_finite[found] |= margin.isnan()
        for factor in NUDGES if ledger.keep is Keep.SMALLEST else ():
            lost = (share <= 0.5).nonzero().squeeze(1)
            if len(lost) == 0:
                break
            near = region.take(lost)
            trial = near.clamp_(near.x + (ledger.best[found[lost]] - near.x) * factor)
            other = self._looked(trial, found[lost], CONFIRM)[1]
            again = (other > 0.5) & (near.norm(trial - near.x) <= near.eps)
            ledger.best[found[lost[again]]] = trial[again]
            share[lost[again]] = other[again]
        return share

    def _reasons(self, won: Tensor, lost: Tensor) -> Tensor:
        ledger = self.ledger
        reason = torch.full_like(ledger.forwards, int(Reason.EXHAUSTED), dtype=torch.uint8)
        for rows, code in (
            (ledger.spent(), Reason.BUDGET),
            (ledger.zero_gradient, Reason.NO_GRADIENT),
            (ledger.no_start, Reason.NO_START),
            (ledger.non_finite_gradient, Reason.NON_FINITE_GRADIENT),
            (ledger.locked_out & ~ledger.won, Reason.LOCKED_OUT),
            (lost, Reason.UNCONFIRMED),
            (ledger.non_finite, Reason.NON_FINITE),
            (won, Reason.FOUND),
            (ledger.already, Reason.ALREADY),
        ):
            reason[rows] = int(code)
        return reason

    def save(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return all that is needed to resume: tensors, and plain values."""
        tensors = {f"ledger.{name}": value for name, value in self.ledger.tensors().items()}
        state, plain = flatten(self.state, "state") if self.live else ({}, {})
        mine = {"live": self.broker.live, "rate": self.rate, "still": self.still}
        if self.anchor is not None:
            mine["anchor"] = self.anchor
        return tensors | state | mine, {"plain": plain, "t": self.t, "seconds": self.seconds}

    def load(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        device = self.x.device
        tensors = {name: value.to(device) for name, value in tensors.items()}
        self.ledger.load({n.removeprefix("ledger."): v for n, v in tensors.items() if n.startswith("ledger.")})
        self.rate, self.still, self.anchor = tensors["rate"], tensors["still"], tensors.get("anchor")
        self.broker.narrow(tensors["live"])
        self.t, self.seconds = values["t"], values["seconds"]
        if self.live:
            self.state = rebuild(self.attack.state, tensors, values["plain"], "state")


def drawn_so_far(device: torch.device) -> tuple[Tensor, ...]:
    """Return the states of the random generators that a model's own draws come from."""
    states = (torch.get_rng_state(),)
    return (*states, torch.cuda.get_rng_state(device)) if device.type == "cuda" else states


def check_terms(goal: Goal, outputs: Any) -> None:
    """Raise GoalError where the goal's `terms` are none, with one row per input."""
    terms, count = goal.terms(outputs), len(goal)
    if not isinstance(terms, Terms) or terms.values.ndim != 2 or len(terms.values) != count:
        got = f"values {tuple(terms.values.shape)}" if isinstance(terms, Terms) else f"a {type(terms).__name__}"
        name = type(goal).__name__
        raise GoalError(f"{name}.terms gave {got} for {count} inputs; return Terms(values) with values (inputs, terms)")


def on_device(outcome: Outcome, device: torch.device) -> Outcome:
    """Return the outcome with its tensors moved."""
    passes = Passes(*(getattr(outcome.passes, n).to(device) for n in ("forwards", "backwards", "checks")))
    tensors: dict[str, Any] = {n: v.to(device) for n, v in vars(outcome).items() if isinstance(v, Tensor)}
    return replace(outcome, passes=passes, **tensors)
