"""Base class of attacks that wrap one other attack: ball, access and declarations are the inner attack's."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ...access import Attack, Keep
from ...access.attack import A, S, check_attacks
from ...geometry import Ball
from ...geometry.region import Region
from ...goals import Goal


class AttackWrapper(Attack[A, S]):
    """Base class: an attack that runs the attack in its field `attack`, with that attack's ball and properties."""

    attack: Attack[Any, Any]

    def __post_init__(self) -> None:
        check_attacks(self, self.attack)
        super().__post_init__()

    def check(self, region: Region) -> None:
        self.attack.check(region)

    def check_goal(self, goal: Goal) -> None:
        self.attack.check_goal(goal)

    @property
    def keep(self) -> Keep:
        return self.attack.keep

    @property
    def confidence(self) -> float:
        return self.attack.confidence

    @property
    def ball(self) -> Ball:
        return self.attack.ball

    @property
    def queries_outside_ball(self) -> bool:
        return self.attack.queries_outside_ball

    @property
    def accepts_start(self) -> bool:
        return self.attack.accepts_start

    @property
    def begins_again(self) -> bool:
        return self.attack.begins_again

    @property
    def batch_coupled(self) -> bool:
        return self.attack.batch_coupled

    def measure(self, delta: Tensor, region: Region) -> Tensor:
        return self.attack.measure(delta, region)
