"""An attack on one rival class after another (Gowal et al. 2019, arXiv:1910.09338, MultiTargeted).

The goal stays the same; only the loss changes. The rivals of an image are, for `Misclassify`, the classes with the
highest logits but the label, highest first. A targeted goal has one rival.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Generic

import torch
from torch import Tensor

from ...access import Attack, Batch, Decisions, Gradients, PositiveInt
from ...errors import ConfigError
from ...goals import Climb, RivalDLR
from .attack_wrapper import AttackWrapper
from .restarts import Restarts
from .sequential import S, SequentialState


@dataclass(frozen=True)
class RivalsState(Generic[S]):
    """The state of the attack on the current rival, and the rivals (B, k) int64, nearest first."""

    inner: SequentialState[S]
    rivals: Tensor
    finished: bool = False  # whether the attack on the last rival has ended


@dataclass(frozen=True)
class Rivals(AttackWrapper[Gradients, RivalsState[S]]):
    """Run `attack` against each of the nearest rival classes in turn (AutoAttack's "-T").

    Args:
        attack: an attack with gradients whose `loss` is None.
        n_target_classes: the number of rivals (9 in AutoAttack); fewer where the task has fewer.
        loss: makes the loss from the indices (B,) int64 of the rivals: RivalDLR is AutoAttack's, RivalMargin FAB's.
    """

    attack: Attack[Gradients, S]
    n_target_classes: PositiveInt = 9
    loss: Callable[[Tensor], Climb] = RivalDLR

    def __post_init__(self) -> None:
        super().__post_init__()
        if not callable(self.loss):
            raise ConfigError(f"Rivals loss={self.loss!r:.80}; pass what makes a loss of rivals, as RivalDLR")

    @property
    def _repeats(self) -> Restarts[Gradients, S]:
        return Restarts(self.attack, self.n_target_classes)

    @property
    def access(self) -> type[Decisions]:
        return max(self.attack.access, Gradients, key=lambda access: len(access.__mro__))

    @property
    def state(self) -> Any:
        return RivalsState[self.attack.state]  # type: ignore[name-defined]

    @property
    def begins_again(self) -> bool:
        return True

    @property
    def total_steps(self) -> int:
        return self._repeats.total_steps

    @property
    def name(self) -> str:
        return f"{self.attack.name}-T"

    def init(self, oracle: Gradients, batch: Batch) -> RivalsState[S]:
        rivals = oracle.rivals(oracle.region.x, self.n_target_classes)
        return RivalsState(self._repeats.init(self._with_rival_loss(oracle, rivals, 0), batch), rivals)

    def _with_rival_loss(self, oracle: Gradients, rivals: Tensor, index: int) -> Gradients:
        return oracle.with_loss(self.loss(rivals[:, index]))

    def step(self, oracle: Gradients, state: RivalsState[S], t: int) -> RivalsState[S]:
        index = t // self.attack.total_steps
        if index >= state.rivals.shape[1]:
            self.finish(oracle, state)
            return replace(state, finished=True)
        oracle = self._with_rival_loss(oracle, state.rivals, index)
        return replace(state, inner=self._repeats.step(oracle, state.inner, t))

    def finish(self, oracle: Gradients, state: RivalsState[S]) -> None:
        if not state.finished:
            self._repeats.finish(oracle, state.inner)

    def done(self, state: RivalsState[S]) -> Tensor | None:
        if state.finished:
            return torch.ones_like(state.rivals[:, 0], dtype=torch.bool)
        return self._repeats.done(state.inner)

    def stuck(self, state: RivalsState[S]) -> Tensor | None:
        return self._repeats.stuck(state.inner)
