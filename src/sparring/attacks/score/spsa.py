"""SPSA (Uesato, O'Donoghue, van den Oord & Kohli 2018, arXiv:1802.05666, algorithm 1).

    x_{t+1} = Proj_{B(x, eps)} ( x_t + Adam(g_t) )

with g_t from pairs of queries at x_t +- delta * v, v of random signs (`estimate_gradient`); the score is the margin.

Departures: queries stay in the ball (`estimate_gradient`), so iterates cost none; 20 queries to a step where the paper
takes 256 to 8192, which beat more rows at equal queries on each net tried; in L2, beside the paper's Linf, Adam's step
is divided by the root of the number of components.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ...access import Attack, Batch, PositiveFloat, PositiveInt, Scores
from ...geometry import L2, Ball, Linf, tiny
from ...geometry.region import Region
from ..adam import Adam
from .gradient_estimate import SampleCount, check_even, estimate_gradient


@dataclass(frozen=True)
class SPSAState:
    """The iterate of each row, and Adam's moments."""

    image: Tensor  # (B, ...)
    adam: Adam


@dataclass(frozen=True)
class SPSA(Attack[Scores, SPSAState]):
    """Ascend the margin by Adam on gradients estimated along random signs.

    Args:
        ball: Linf or L2 with a finite eps.
        steps: steps of `n_samples` queries each (100 in the paper).
        n_samples: queries per row and step, an even number.
        delta: how far each pixel of a query is moved, in pixel values (0.01 in the paper).
        learning_rate: Adam's step size, in units of the norm; None: eps / 3 (0.01 at eps 8/255 in the paper).

    Raises:
        ConfigError: for an odd number of samples.
    """

    ball: Ball
    steps: PositiveInt = 500
    n_samples: SampleCount = 20
    delta: PositiveFloat = 0.01
    learning_rate: PositiveFloat | None = None

    norms: ClassVar[tuple[type[Ball], ...]] = (Linf, L2)
    alternative: ClassVar[str] = "Square (L1) or PGD"
    spends_radius: ClassVar[bool] = True
    uses_region: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_even(self.name, self.n_samples)

    def _step_size(self, region: Region) -> Tensor:
        """(B,) how far each component is moved where all are moved alike."""
        size = region.eps / 3 if self.learning_rate is None else torch.full_like(region.eps, self.learning_rate)
        return size / region.norm(region.masked(torch.ones_like(region.x)))

    def init(self, oracle: Scores, batch: Batch) -> SPSAState:
        return SPSAState(oracle.region.x, Adam.zeros_like(oracle.region.x))

    def step(self, oracle: Scores, state: SPSAState, t: int) -> SPSAState:
        region, h = oracle.region, self.delta * oracle.region.inputs.scale
        grad = estimate_gradient(oracle, state.image, oracle.key.signs, self.n_samples, h, t).grad
        update, adam = state.adam.step(grad, self._step_size(region), t + 1, epsilon=tiny(grad))
        return SPSAState(region.nearest_(update.add_(state.image)), adam)

    def finish(self, oracle: Scores, state: SPSAState) -> None:
        oracle.score(state.image)
