"""An attack that applies a fitted artifact to images, so that `run` evaluates it like any other attack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ...access import Attack, Batch, Decisions
from ...geometry import Ball
from .artifact import Artifact


@dataclass(frozen=True)
class ArtifactAttackState:
    """The images as the artifact perturbs them: x (B, C, H, W)."""

    x: Tensor


@dataclass(frozen=True)
class ArtifactAttack(Attack[Decisions, ArtifactAttackState]):
    """Apply an artifact and ask about each image once: `run(ArtifactAttack(artifact), target, goal, images)`.

    Args:
        artifact: what `fit` made; its ball is that of the attack.
    """

    artifact: Artifact

    uses_region: ClassVar[bool] = True

    @property
    def ball(self) -> Ball:
        return self.artifact.ball

    @property
    def steps(self) -> int:
        return 1

    def init(self, oracle: Decisions, batch: Batch) -> ArtifactAttackState:
        region = oracle.region
        x = self.artifact.apply(region.x, oracle.key)
        plain = region.free is None and region.radius == self.ball.eps
        return ArtifactAttackState(x if plain else region.nearest_(x.clone()))

    def step(self, oracle: Decisions, state: ArtifactAttackState, t: int) -> ArtifactAttackState:
        oracle.decide(state.x)
        return state
