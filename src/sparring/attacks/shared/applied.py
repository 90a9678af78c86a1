"""What an artifact does to images it has never seen, asked and judged like any other attack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ...access import Attack, Batch, Decisions
from ...geometry import Ball
from .artifact import Artifact


@dataclass(frozen=True)
class Moved:
    """The images as the artifact moves them."""

    image: Tensor


@dataclass(frozen=True)
class Applied(Attack[Decisions, Moved]):
    """One question for each image: `run(Applied(artifact), target, goal, held_out_images)`."""

    artifact: Artifact

    regional: ClassVar[bool] = True

    @property
    def ball(self) -> Ball:
        return self.artifact.ball

    @property
    def steps(self) -> int:
        return 1

    def init(self, oracle: Decisions, batch: Batch) -> Moved:
        region = oracle.region
        image = self.artifact.apply(region.x)
        plain = region.free is None and region.radius == self.ball.eps
        return Moved(image if plain else region.nearest_(image.clone()))

    def step(self, oracle: Decisions, state: Moved, t: int) -> Moved:
        oracle.decide(state.image)
        return state
