"""Bandits (Ilyas, Engstrom & Madry 2019, arXiv:1807.07978, algorithms 1 to 3): priors over time and over the image.

A prior v on a coarse grid is a guess of the gradient. Each step probes it with one antithetic pair,

    q = v +- delta u,   gain = f(x + eta q+ / |q+|_2) - f(x + eta q- / |q-|_2),   u ~ N(0, 1/d),

moves v by rate * gain * u (L2: as it is; Linf: exponentiated gradient, which keeps v in [-1, 1] and is a sum in
artanh v), and the image by step_size * steepest(v), each cell of the grid spread over a tile of pixels.

Departures: the margin is climbed and the gain divided by the root of its running mean square, so that one rate fits
every net and both norms (the paper's 100 and 0.1 depend on the scale of the loss); the iterate is asked about where a
probe, which lies beyond it, wins.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ...access import Attack, Batch, Scores
from ...errors import InputError
from ...geometry import L2, Ball, Linf, rowwise, tiny, unit
from ...geometry.region import Region
from ...inputs import Images
from .slope import check, rise

MEMORY = 0.9  # of the gains' mean square


@dataclass(frozen=True)
class Belief:
    """Where each row stands, and what it takes the gradient for."""

    image: Tensor
    prior: Tensor  # (B, C, h, w); in Linf its artanh
    power: Tensor  # (B,) mean square of the gains


@dataclass(frozen=True)
class Bandits(Attack[Scores, Belief]):
    """Two queries a step, and a prior that carries what they tell from step to step.

    Args:
        ball: Linf or L2 with a finite eps.
        steps: steps of two queries each (5000 make the paper's 10,000).
        tile: side of a tile in pixels, 1 for none (the paper: 50 tiles a side, of 224 or 299 pixels).
        probe: eta, the L2 length of a probe (0.1 in Linf; 0.01 in L2 with the authors).
        exploration: delta, the length of the noise (1 in Linf; 0.01 in L2 with the authors).
        rate: of the prior, per gain of the usual size.
        step_size: in units of the norm; None: eps / 5, the authors' in Linf (eps / 10 in L2).
    """

    ball: Ball
    steps: int = 5000
    tile: int = 4
    probe: float = 0.1
    exploration: float = 1.0
    rate: float = 1.0
    step_size: float | None = None

    norms: ClassVar[tuple[type[Ball], ...]] = (Linf, L2)
    elsewhere: ClassVar[str] = "Square (L1) or PGD"
    spends_radius: ClassVar[bool] = True
    regional: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        numbers = {name: getattr(self, name) for name in ("steps", "tile", "probe", "exploration", "rate", "step_size")}
        check(self.name, **numbers)

    @property
    def queries_outside_ball(self) -> bool:
        return True  # probes leave the ball: at its edge they would not move along the prior

    def check(self, region: Region) -> None:
        super().check(region)
        if self.tile > 1 and not isinstance(region.inputs, Images):
            kind = region.inputs.plural
            raise InputError(f"Bandits tile={self.tile} covers pixels, and these are {kind}; pass tile=1")

    def init(self, oracle: Scores, batch: Batch) -> Belief:
        x = oracle.region.x
        shape = x.shape if self.tile == 1 else (*x.shape[:2], *(math.ceil(side / self.tile) for side in x.shape[2:]))
        return Belief(x, x.new_zeros(shape), torch.zeros_like(oracle.region.eps))

    def step(self, oracle: Scores, state: Belief, t: int) -> Belief:
        region, b = oracle.region, len(state.image)
        noise = oracle.key.normal("noise", state.prior.shape[1:], t, state.prior.dtype)
        noise /= math.sqrt(noise[0].numel())
        prior, way = _shown(region, state.prior), self.exploration * noise
        pair = _spread(torch.stack((prior + way, prior - way), 1).flatten(0, 1), state.image)
        twice = (b, 2, *pair.shape[1:])
        pair = unit(region.masked_many(pair.view(twice)).flatten(0, 1))
        probes = pair.mul_(self.probe * region.inputs.scale).view(twice).add_(state.image[:, None])
        rows = torch.arange(b, device=prior.device).repeat_interleave(2)
        margin = oracle.score(region.clamp_many_(probes).flatten(0, 1), rows=rows).margin.view(-1, 2)
        gain = rise(margin[:, 0], margin[:, 1])
        power = torch.lerp(gain.square(), state.power, MEMORY)
        usual = (power / (1 - MEMORY ** (t + 1))).sqrt().clamp_min(tiny(power))
        learnt = state.prior + noise * rowwise(self.rate * gain / usual, noise)
        size = region.eps / 5 if self.step_size is None else torch.full_like(region.eps, self.step_size)
        step = region.steepest(_spread(_shown(region, learnt), state.image))
        image = region.nearest_(step.mul_(rowwise(size, step)).add_(state.image))
        near = (margin.amax(1) > 0).nonzero().squeeze(1)
        if len(near):
            oracle.score(image[near], rows=near)
        return Belief(image, learnt, power)

    def finish(self, oracle: Scores, state: Belief) -> None:
        oracle.score(state.image)


def _shown(region: Region, prior: Tensor) -> Tensor:
    return prior.tanh() if math.isinf(region.ball.p) else prior


def _spread(tiles: Tensor, images: Tensor) -> Tensor:
    """A grid (Q, C, h, w) over the pixels of `images`; itself where every tile is one component."""
    return tiles if tiles.shape[1:] == images.shape[1:] else F.interpolate(tiles, size=images.shape[2:], mode="nearest")
