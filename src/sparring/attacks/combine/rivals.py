"""An attack steered at one rival class after another (Gowal et al. 2019, arXiv:1910.09338, MultiTargeted).

The goal still judges; only what is climbed changes. The rivals of an image are the ways to win that are nearest on
it, nearest first: of a classifier's Misclassify, classes. A goal with one way to win has one round.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Generic

import torch
from torch import Tensor

from ...access import Attack, Batch, Decisions, Gradients
from ...errors import ConfigError
from ...goals import Climb, RivalDLR
from .around import Around
from .restarts import Restarts
from .rounds import Round, S


@dataclass(frozen=True)
class Duel(Generic[S]):
    """The present round, and the rivals (B, k), one a round."""

    round: Round[S]
    rivals: Tensor
    over: bool = False  # have all rivals had their round?


@dataclass(frozen=True)
class Rivals(Around[Gradients, Duel[S]]):
    """`attack` against each of the `count` nearest rivals; against fewer, where the task has fewer.

    Args:
        attack: it must not name a loss of its own.
        count: of rivals (9 in AutoAttack).
        loss: makes what is climbed of the rivals' places (B,): RivalDLR is AutoAttack's, RivalMargin is FAB's.
    """

    attack: Attack[Gradients, S]
    count: int = 9
    loss: Callable[[Tensor], Climb] = RivalDLR

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ConfigError(f"rivals {self.count!r}; pass a number >= 1")

    @property
    def _rounds(self) -> Restarts[Gradients, S]:
        return Restarts(self.attack, self.count)

    @property
    def access(self) -> type[Decisions]:
        return max(self.attack.access, Gradients, key=lambda access: len(access.__mro__))

    @property
    def state(self) -> Any:
        return Duel[self.attack.state]  # type: ignore[name-defined]

    @property
    def total_steps(self) -> int:
        return self._rounds.total_steps

    @property
    def name(self) -> str:
        return f"{self.attack.name}-T"

    def init(self, oracle: Gradients, batch: Batch) -> Duel[S]:
        rivals = oracle.rivals(oracle.region.x, self.count)
        return Duel(self._rounds.init(self._facing(oracle, rivals, 0), batch), rivals)

    def _facing(self, oracle: Gradients, rivals: Tensor, number: int) -> Gradients:
        return oracle.with_loss(self.loss(rivals[:, number]))

    def step(self, oracle: Gradients, state: Duel[S], t: int) -> Duel[S]:
        number = t // self.attack.total_steps
        if number >= state.rivals.shape[1]:
            self.finish(oracle, state)
            return replace(state, over=True)
        return replace(state, round=self._rounds.step(self._facing(oracle, state.rivals, number), state.round, t))

    def finish(self, oracle: Gradients, state: Duel[S]) -> None:
        if not state.over:
            self._rounds.finish(oracle, state.round)

    def done(self, state: Duel[S]) -> Tensor | None:
        if state.over:
            return torch.ones_like(state.rivals[:, 0], dtype=torch.bool)
        return self._rounds.done(state.round)

    def stuck(self, state: Duel[S]) -> Tensor | None:
        return self._rounds.stuck(state.round)
