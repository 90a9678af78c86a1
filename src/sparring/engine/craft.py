"""`craft`: the last iterate of an attack, neither judged nor confirmed, for training loops."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import Tensor

from ..access import (
    Attack,
    Batch,
    Budget,
    Decisions,
    Decoupled,
    Gradient,
    Keep,
    Ledger,
    Objective,
    QueryBroker,
    Render,
    gradient_of,
)
from ..errors import ConfigError
from ..geometry.region import Region
from ..goals import Climb, Goal, Verdict
from ..isolation import isolated
from ..random import Key
from ..rows import outside_inference, take
from ..targets import Target, TorchModule, answered, as_target, check_context, check_task
from ..zoo.loaded import LoadedModel
from .arguments import as_engine, as_indices, as_radii, as_tensor
from .given import goal_and_inputs
from .options import Engine
from .run import check_access, check_images, check_start, goal_like, region_of

A = TypeVar("A", bound=Decisions)


@isolated()
def craft(
    attack: Attack[A, Any],
    target: Target[A] | TorchModule | LoadedModel,
    goal: Any,
    x: Any = None,
    *,
    indices: Tensor | None = None,
    mask: Tensor | None = None,
    eps: Tensor | float | None = None,
    start: Tensor | None = None,
    context: Any = None,
    engine: Engine | None = None,
) -> Tensor:
    """Return the last iterates (N, C, H, W) of `attack`; clean images are not evaluated, and nothing is confirmed.

    It costs the attack's own steps and nothing else: PGD-7 is seven forward and seven backward passes. No row stops
    early, whether it has succeeded or not, and success is not reported: for that there is `run`. The images must be
    on the target's device. `mask`, `eps`, `start` and `context` are as in `run`.

    Raises: InputError, ThreatError, AccessError, ConfigError before the first step.
    """
    engine, target = as_engine(engine), as_target(target)
    check_access(attack, target, Attack)
    goal, x = goal_and_inputs(target, goal, x)
    x, mask, start, context = (outside_inference(as_tensor(given)) for given in (x, mask, start, context))
    check_images(x, goal, target.inputs)
    check_task(target, goal)
    check_context(target, context, len(x))
    region = region_of(attack, target, x, mask, outside_inference(as_radii(eps, len(x))))
    if start is not None:
        check_start(attack, start, region)
    places = as_indices(indices, len(x))
    goal = target.adapt_goal(goal_like(goal, x, target))
    attack.check(region)
    attack.check_goal(goal)
    with target.frozen():
        return crafted(attack, target, goal, region, Key(places.to(x.device), engine.seed), start, engine, context)


def crafted(
    attack: Attack[Any, Any],
    target: Target[Any],
    goal: Goal,
    region: Region,
    key: Key,
    start: Tensor | None = None,
    engine: Engine | None = None,
    context: Any = None,
) -> Tensor:
    """Run `craft` without its checks, on a target that is frozen already."""
    if attack.keep is Keep.SMALLEST:
        raise ConfigError(f"{attack.name} ends nowhere: it searches for the smallest example; take one with run()")
    broker = _Unjudged(target, goal, region, engine or Engine(), key, context)
    oracle = attack.access(broker)
    state = attack.init(oracle, Batch(region.x, key, start))
    for t in range(attack.total_steps):
        state = attack.step(oracle, state, t)
    broker.closed = True
    attack.finish(oracle, state)
    return broker.last


class _Later(Verdict):
    """A verdict whose margin is computed when it is first read, which few training attacks do."""

    def __init__(self, goal: Goal, outputs: Any, loss: Tensor) -> None:
        vars(self).update(_goal=goal, _outputs=outputs, loss=loss)

    def __getattr__(self, name: str) -> Any:
        if name != "margin":
            raise AttributeError(name)
        with torch.no_grad():
            vars(self)["margin"] = self._goal.margin(self._outputs)
        return vars(self)["margin"]


class _Unjudged(QueryBroker):
    """A broker that keeps the images of the last query and records nothing; once `closed`, it calls no target."""

    def __init__(
        self,
        target: Target[Any],
        goal: Goal,
        region: Region,
        engine: Engine,
        key: Key,
        context: Any,
    ) -> None:
        x = region.x

        def answer(images: Tensor, key: Key | None = None, context: Any = None) -> Any:
            with engine.precision(x.device):
                return answered(target, images, key, context)

        empty = Ledger(region.take(slice(0)), Keep.HIGHEST_LOSS, Budget())  # nothing is recorded
        batch_size = max(len(x), engine.batch_size)
        super().__init__(answer, goal, empty, batch_size, False, key, target.stochastic, target.draws, context)
        self.turn, self.region = 0, region
        self.live = torch.arange(len(x), device=x.device)
        self.last, self.closed = x, False

    def gradient(
        self,
        variable: Tensor,
        render: Render | None,
        objective: Objective | None,
        loss: Climb | None,
        rows: Tensor | None,
    ) -> Gradient:
        if not (render is None and objective is None and rows is None and not self.stochastic and self.draws == 1):
            return super().gradient(variable, render, objective, loss, rows)
        images = variable.detach().requires_grad_()
        with torch.enable_grad():
            outputs = self._put(images, None, self.context)
            if isinstance(outputs, Decoupled):
                return super().gradient(variable, render, objective, loss, rows)
            value, slope = self.goal.loss_and_gradient(outputs, loss) or (self.goal.loss_of(outputs, loss), None)
        grad = gradient_of(value, images) if slope is None else gradient_of(outputs, images, slope)
        self.last = variable
        verdict: Any = _Later(self.goal, outputs, value.detach())
        return Gradient(verdict, verdict.loss, grad, variable)

    def score(self, x: Tensor, rows: Tensor | None) -> Verdict:
        if not self.closed:
            return super().score(x, rows)
        self._note(x.detach(), rows)
        blank = x.new_full((len(x),), -torch.inf)
        return Verdict(blank, blank)

    def _fresh(self, key: Key, asked: Any) -> Key:
        self.turn += 1
        return (key if asked.rows is None else take(key, asked.rows)).reseeded(self.turn)

    def open(self) -> Tensor:
        return torch.ones_like(self.live, dtype=torch.bool)

    def _write(self, asked: Any, images: Tensor, verdict: Verdict, backwards: int) -> None:
        self._note(images, asked.rows)

    def _note(self, images: Tensor, rows: Tensor | None) -> None:
        if rows is None:
            self.last = images
        else:
            self.last = self.last.index_copy(0, rows, images)

    def _finite(self, grad: Tensor, rows: Tensor | None, slope: Tensor | None = None) -> Tensor:
        return grad
