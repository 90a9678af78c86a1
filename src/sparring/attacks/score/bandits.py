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
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ...access import Attack, Batch, Scores
from ...geometry import Ball, Linf, Region, rowwise, tiny, unit
from ...random import Key
from .slope import check, rise

MEMORY = 0.9  # of the gains' mean square


@dataclass(frozen=True)
class Belief:
    """Where each row stands, and what it takes the gradient for."""

    image: Tensor
    region: Region
    key: Key
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

    def __post_init__(self) -> None:
        numbers = {name: getattr(self, name) for name in ("steps", "tile", "probe", "exploration", "rate", "step_size")}
        check(self.name, self.ball, **numbers)

    @property
    def wanders(self) -> bool:
        return True  # probes leave the ball: at its edge they would not move along the prior

    def init(self, oracle: Scores, batch: Batch) -> Belief:
        x = batch.x
        b, channels, height, width = x.shape
        prior = x.new_zeros(b, channels, math.ceil(height / self.tile), math.ceil(width / self.tile))
        return Belief(x, self.ball.region(x), batch.key, prior, torch.zeros_like(prior[:, 0, 0, 0]))

    def step(self, oracle: Scores, state: Belief, t: int) -> Belief:
        noise = state.key.normal("noise", state.prior.shape[1:], t, state.prior.dtype)
        noise /= math.sqrt(noise[0].numel())
        prior, way = self._shown(state.prior), self.exploration * noise
        pair = torch.stack((prior + way, prior - way), 1).flatten(0, 1)
        rows = torch.arange(len(prior), device=prior.device).repeat_interleave(2)
        probes = unit(_spread(pair, state.image)).mul_(self.probe).add_(state.image[rows]).clamp_(0, 1)
        margin = oracle.score(probes, rows=rows).margin.view(-1, 2)
        gain = rise(margin[:, 0], margin[:, 1])
        power = torch.lerp(gain.square(), state.power, MEMORY)
        usual = (power / (1 - MEMORY ** (t + 1))).sqrt().clamp_min(tiny(power))
        learnt = state.prior + noise * rowwise(self.rate * gain / usual, noise)
        size = self.ball.eps / 5 if self.step_size is None else self.step_size
        moved = self.ball.steepest(_spread(self._shown(learnt), state.image)).mul_(size).add_(state.image)
        image = self.ball.nearest_(moved, state.region)
        near = (margin.amax(1) > 0).nonzero().squeeze(1)
        if len(near):
            oracle.score(image[near], rows=near)
        return replace(state, image=image, prior=learnt, power=power)

    def _shown(self, prior: Tensor) -> Tensor:
        return prior.tanh() if isinstance(self.ball, Linf) else prior

    def finish(self, oracle: Scores, state: Belief) -> None:
        oracle.score(state.image)


def _spread(tiles: Tensor, images: Tensor) -> Tensor:
    """A grid (Q, C, h, w) over the pixels of `images`."""
    return F.interpolate(tiles, size=images.shape[2:], mode="nearest")
