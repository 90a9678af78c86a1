"""SPSA (Uesato, O'Donoghue, van den Oord & Kohli 2018, arXiv:1802.05666, algorithm 1).

    x_{t+1} = Proj_{B(x, eps)} ( x_t + rate * Adam(g_t) )

with g_t from pairs of probes at x_t +- probe * v, v of random signs (`slope`), and the margin as the score.

Departures: probes stay in the ball (`slope`), so iterates cost no query; 20 queries to a step where the paper takes
256 to 8192, which fell more rows at equal queries on each net tried; in L2, beside the paper's Linf, Adam's step is
divided by the root of the number of components.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ...access import Attack, Batch, Scores
from ...geometry import L2, Ball, Linf, rowwise, tiny
from ...geometry.region import Region
from .slope import check, slope

BETAS = 0.9, 0.999


@dataclass(frozen=True)
class Climb:
    """Where each row stands, and Adam's two moments."""

    image: Tensor
    first: Tensor
    second: Tensor


@dataclass(frozen=True)
class SPSA(Attack[Scores, Climb]):
    """Adam on gradients estimated along random signs.

    Args:
        ball: Linf or L2 with a finite eps.
        steps: steps of `samples` queries each (the paper: 100).
        samples: queries per row and step, an even number.
        probe: how far each pixel of a probe is moved (delta, 0.01).
        step_size: Adam's rate, in units of the norm; None: eps / 3 (the paper: 0.01 at eps 8/255).
    """

    ball: Ball
    steps: int = 500
    samples: int = 20
    probe: float = 0.01
    step_size: float | None = None

    norms: ClassVar[tuple[type[Ball], ...]] = (Linf, L2)
    elsewhere: ClassVar[str] = "Square (L1) or PGD"
    spends_radius: ClassVar[bool] = True
    regional: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self.name, steps=self.steps, samples=self.samples, probe=self.probe, step_size=self.step_size)

    def rate(self, region: Region) -> Tensor:
        """(B,) how far each component is moved where all are moved alike."""
        size = region.eps / 3 if self.step_size is None else torch.full_like(region.eps, self.step_size)
        return size / region.norm(region.masked(torch.ones_like(region.x)))

    def init(self, oracle: Scores, batch: Batch) -> Climb:
        x = oracle.region.x
        return Climb(x, torch.zeros_like(x), torch.zeros_like(x))

    def step(self, oracle: Scores, state: Climb, t: int) -> Climb:
        region = oracle.region
        grad = slope(oracle, state.image, oracle.key.signs, self.samples, self.probe * region.inputs.scale, t).grad
        first = torch.lerp(grad, state.first, BETAS[0])
        second = torch.lerp(grad.square(), state.second, BETAS[1])
        scale = (second / (1 - BETAS[1] ** (t + 1))).sqrt_().clamp_min_(tiny(grad))
        rate = self.rate(region) / (1 - BETAS[0] ** (t + 1))
        moved = (first / scale).mul_(rowwise(rate, grad)).add_(state.image)
        return Climb(region.nearest_(moved), first, second)

    def finish(self, oracle: Scores, state: Climb) -> None:
        oracle.score(state.image)
