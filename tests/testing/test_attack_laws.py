"""The laws of attacks lead a stranger: each typical mistake is caught, by words that name the cure; right ones pass."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

import sparring as sp
from sparring import testing
from sparring.access import Attack, Batch, Gradients, Scores
from sparring.geometry import L2, Ball, Linf
from sparring.testing import check_attack

EPS = 0.03
OPTIONS: dict[str, Any] = {"ratio": None}


@dataclass(frozen=True)
class State:
    x: Tensor


@dataclass(frozen=True)
class Right(Attack[Gradients, State]):
    """Iterated steps, written as the documentation says."""

    ball: Ball = Linf(EPS)  # noqa: RUF009
    steps: int = 8

    uses_region: ClassVar[bool] = True
    spends_radius: ClassVar[bool] = True

    def init(self, oracle: Gradients, batch: Batch) -> State:
        return State(batch.x)

    def step(self, oracle: Gradients, state: State, t: int) -> State:
        return State(self.moved(oracle, state, oracle.gradient(state.x).grad))

    def moved(self, oracle: Gradients, state: State, grad: Tensor) -> Tensor:
        region = oracle.region
        size = (2.5 * region.eps / self.steps).view(-1, 1, 1, 1)
        return region.nearest_(state.x + size * region.steepest(grad))

    def finish(self, oracle: Gradients, state: State) -> None:
        oracle.score(state.x)


@dataclass(frozen=True)
class RandomSearch(Attack[Scores, State]):
    """Uniform draws in the ball, by the key."""

    ball: Ball = Linf(0.05)  # noqa: RUF009
    steps: int = 10

    uses_region: ClassVar[bool] = True
    spends_radius: ClassVar[bool] = True

    def init(self, oracle: Scores, batch: Batch) -> State:
        return State(batch.x)

    def step(self, oracle: Scores, state: State, t: int) -> State:
        oracle.score(oracle.region.nearest_(oracle.region.x + oracle.region.sample(oracle.key.reseeded(t))))
        return state


@dataclass(frozen=True)
class PlainL2(Right):
    """In L2, by hand: norms round otherwise from batch to batch."""

    ball: Ball = L2(0.3)
    uses_region: ClassVar[bool] = False

    def moved(self, oracle: Gradients, state: State, grad: Tensor) -> Tensor:
        length = grad.flatten(1).norm(dim=1).clamp_min(1e-30).view(-1, 1, 1, 1)
        delta = state.x + 0.1 * grad / length - oracle.region.x
        size = delta.flatten(1).norm(dim=1).clamp_min(1e-30).view(-1, 1, 1, 1)
        return (oracle.region.x + delta * (self.ball.eps / size).clamp(max=1)).clamp(0, 1)


@pytest.mark.parametrize(
    ("attack", "options"),
    [(Right(), {}), (RandomSearch(), OPTIONS), (PlainL2(), OPTIONS), (Right(L2(0.3), steps=30), {}),
     (replace(Right(), steps=1), {})],
    ids=["steps", "random search", "L2 by hand", "L2", "one step"],
)  # fmt: skip
def test_a_right_attack_passes(attack, options):
    check_attack(attack, **options)


class NeverProjects(Right):
    def moved(self, oracle, state, grad):
        return (state.x + 0.02 * grad.sign()).clamp(0, 1)


class NeverProjectsButFar(NeverProjects):
    """So fast that every row of an ordinary net falls at the first step."""

    def moved(self, oracle, state, grad):
        step = EPS if torch.equal(state.x, oracle.region.x) else 0.5
        return (state.x + step * grad.sign()).clamp(0, 1)


class LeavesTheRange(Right):
    def moved(self, oracle, state, grad):
        return oracle.region.x + (state.x + 0.01 * grad.sign() - oracle.region.x).clamp(-EPS, EPS)


class InPlace(Right):
    def moved(self, oracle, state, grad):
        oracle.region.x.add_(0.001)
        return super().moved(oracle, state, grad)


class BeginsOutsideTheMask(Right):
    def init(self, oracle, batch):
        return State(batch.x * 0.999)


class AsksTheModelItself(Right):
    def step(self, oracle, state, t):
        oracle._broker.target(state.x)
        return super().step(oracle, state, t)


class UntilItWins(Right):
    """A loop of its own, which ends when every row has won."""

    def step(self, oracle, state, t):
        for _ in range(10_000):
            answer = oracle.gradient(state.x)
            if bool((answer.verdict.margin > 0).all()):
                break
            state = State(self.moved(oracle, state, answer.grad))
        return state


class OtherNorm(Right):
    ball: Ball = L2(0.3)

    def moved(self, oracle, state, grad):
        delta = (state.x + 0.1 * grad.sign() - oracle.region.x).clamp(-0.3, 0.3)
        return (oracle.region.x + delta).clamp(0, 1)


class IgnoresTheMask(Right):
    def moved(self, oracle, state, grad):
        delta = (state.x + 0.01 * grad.sign() - oracle.region.x).clamp(-EPS, EPS)
        return (oracle.region.x + delta).clamp(0, 1)


class IgnoresTheRowsRadius(Right):
    def moved(self, oracle, state, grad):
        region = oracle.region
        delta = (state.x + 0.01 * region.masked(grad).sign() - region.x).clamp(-EPS, EPS)
        return (region.x + delta).clamp(0, 1)


class GlobalDraws(Right):
    def init(self, oracle, batch):
        return State(oracle.region.nearest_(batch.x + EPS * torch.randn_like(batch.x)))


class SeedsTheWorld(Right):
    def init(self, oracle, batch):
        torch.manual_seed(0)
        return State(oracle.region.nearest_(batch.x + EPS * torch.randn_like(batch.x)))


class DrawsForTheBatch(Right):
    """One generator for all rows: what a row gets depends on its place in the batch."""

    def init(self, oracle, batch):
        draws = torch.randn(batch.x.shape, generator=torch.Generator().manual_seed(1), dtype=batch.x.dtype)
        return State(oracle.region.nearest_(batch.x + EPS * draws))


class Coupled(Right):
    def moved(self, oracle, state, grad):
        return super().moved(oracle, state, grad - grad.mean(0, keepdim=True))


class OtherShape(Right):
    def moved(self, oracle, state, grad):
        return super().moved(oracle, state, grad)[:, :1]


class OtherType(Right):
    def moved(self, oracle, state, grad):
        return super().moved(oracle, state, grad).float()


class StateWithoutRows(Right):
    def init(self, oracle, batch):
        return State(batch.x[0])

    def step(self, oracle, state, t):
        x = oracle.region.x
        oracle.score(oracle.region.nearest_(x + 0 * state.x))
        return state


class KeepsTheLastRun(Right):
    memory: ClassVar[list[Tensor]] = []

    def init(self, oracle, batch):
        same = [delta for delta in self.memory if delta.shape == batch.x.shape]
        return State(oracle.region.nearest_(batch.x + same[-1]) if same else batch.x)

    def finish(self, oracle, state):
        super().finish(oracle, state)
        self.memory.append(state.x - oracle.region.x)


class DividesByTheGradient(Right):
    def moved(self, oracle, state, grad):
        return super().moved(oracle, state, grad) + 0 * grad / grad.flatten(1).norm(dim=1).view(-1, 1, 1, 1)


class CountsInItself(Right):
    def step(self, oracle, state, t):
        object.__setattr__(self, "tried", getattr(self, "tried", 0) + 1)
        size = EPS / self.tried
        return State(oracle.region.nearest_(state.x + size * oracle.gradient(state.x).grad.sign()))


class StillAttached(Right):
    def init(self, oracle, batch):
        return State(batch.x.clone().requires_grad_())

    def step(self, oracle, state, t):
        oracle.score(state.x)
        return State(state.x * 1.0)


class Weak(Right):
    """Down the loss instead of up."""

    def moved(self, oracle, state, grad):
        return super().moved(oracle, state, -grad)


WRONG = [
    (NeverProjects(), "left Linf", "oracle.region.project"),
    (NeverProjectsButFar(), "left Linf", "oracle.region.project"),
    (LeavesTheRange(), "valid range", "oracle.region.nearest_"),
    (InPlace(), "region.x was changed in place", "clone it"),
    (BeginsOutsideTheMask(), "outside the mask", "oracle.region"),
    (AsksTheModelItself(), "the model saw", "oracle"),
    (UntilItWins(), "queries in one step|does not end", "total_steps"),
    (OtherNorm(L2(0.3)), "left L2", "oracle.region.project"),
    (IgnoresTheMask(), "outside the mask", "oracle.region"),
    (IgnoresTheRowsRadius(), "radius of a row", "oracle.region"),
    (GlobalDraws(), "global random state|not repeat", "oracle.key"),
    (SeedsTheWorld(), "global random state", "oracle.key"),
    (DrawsForTheBatch(), "batch size", "oracle.key"),
    (Coupled(), "batch size", "BatchCoupled"),
    (OtherShape(), "shape", "shape"),
    (OtherType(), "float32", "dtype"),
    (StateWithoutRows(), "row", "one row per"),
    (KeepsTheLastRun(), "not repeat", "state"),
    (DividesByTheGradient(), "NaN", "zero"),
    (CountsInItself(), "not repeat|batch size", "state"),
    (Weak(), "optimum", "ascend the gradient"),
    (StillAttached(), "requires a gradient", "detach"),
]


@pytest.mark.parametrize(
    ("attack", "seen", "cure"), WRONG, ids=lambda one: one.name if isinstance(one, Attack) else "is"
)
def test_a_typical_mistake_is_caught_and_its_cure_is_named(attack, seen, cure):
    with pytest.raises(AssertionError, match=seen) as raised:
        check_attack(attack)
    message = str(raised.value)
    assert attack.name in message
    assert re.search(cure, message), message


def test_rows_that_were_wrong_before_are_never_attacked():
    """No attack can do so: the engine leaves them out."""
    case = testing.small_net(6)
    wrong = sp.Misclassify(torch.where(torch.arange(6) % 2 == 0, case.labels, (case.labels + 1) % 4))
    outcome = sp.run(Right(), case.target, wrong, case.images)
    assert outcome.already.tolist() == [False, True] * 3
    assert not outcome.passes.forwards[outcome.already].any()
