"""Bandits (Ilyas, Engstrom & Madry 2019, arXiv:1807.07978, algorithms 1 to 3): priors over time and over the image.

A prior v on a coarse grid is an estimate of the gradient. Each step tests it with one antithetic pair,

    q = v +- exploration * u,   gain = f(x + fd_eta q+ / |q+|_2) - f(x + fd_eta q- / |q-|_2),   u ~ N(0, 1/d),

moves v by online_lr * gain * u (L2: as it is; Linf: exponentiated gradient, which keeps v in [-1, 1] and is a sum in
artanh v), and the image by step_size * steepest(v), each cell of the grid spread over a tile of pixels.

Departures: the margin is ascended and the gain divided by the root of its running mean square, so that one rate fits
every net and both norms (the paper's 100 and 0.1 depend on the scale of the loss); the iterate is queried only where a
query beyond it succeeds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ...access import Attack, Batch, PositiveFloat, PositiveInt, Scores
from ...errors import InputError
from ...geometry import L2, Ball, Linf, rowwise, tiny, unit
from ...geometry.region import Region
from ...inputs import Images
from .gradient_estimate import difference

GAIN_DECAY = 0.9  # the share of the gains' mean square that is kept at each step


@dataclass(frozen=True)
class BanditsState:
    """The iterate of each row, and its prior: the estimate of its gradient."""

    image: Tensor  # (B, C, H, W)
    prior: Tensor  # (B, C, h, w); in Linf its artanh
    gain_square: Tensor  # (B,) the running mean square of the gains


@dataclass(frozen=True)
class Bandits(Attack[Scores, BanditsState]):
    """Ascend the margin along a prior, an estimate of the gradient that two queries per step update.

    Args:
        ball: Linf or L2 with a finite eps.
        steps: steps of two queries each (5000 make the paper's 10,000).
        tile_size: the side of a tile in pixels, 1 for none (the paper: 50 tiles a side, of 224 or 299 pixels).
        fd_eta: the L2 length of the finite difference, in pixel values (0.1 in Linf, 0.01 in L2 with the authors).
        exploration: the length of the noise around the prior (1 in Linf, 0.01 in L2 with the authors).
        online_lr: the step size of the prior, per gain of the usual size.
        step_size: of the image, in units of the norm; None: eps / 5, the authors' in Linf (eps / 10 in L2).
    """

    ball: Ball
    steps: PositiveInt = 5000
    tile_size: PositiveInt = 4
    fd_eta: PositiveFloat = 0.1
    exploration: PositiveFloat = 1.0
    online_lr: PositiveFloat = 1.0
    step_size: PositiveFloat | None = None

    norms: ClassVar[tuple[type[Ball], ...]] = (Linf, L2)
    alternative: ClassVar[str] = "Square (L1) or PGD"
    spends_radius: ClassVar[bool] = True
    uses_region: ClassVar[bool] = True

    @property
    def queries_outside_ball(self) -> bool:
        return True  # at the ball's edge they would not move along the prior

    def check(self, region: Region) -> None:
        """Raise as every attack does, and InputError for tiles where inputs have no pixels."""
        super().check(region)
        if self.tile_size > 1 and not isinstance(region.inputs, Images):
            kind = region.inputs.plural
            raise InputError(f"Bandits tile_size={self.tile_size} covers pixels, these are {kind}; pass tile_size=1")

    def init(self, oracle: Scores, batch: Batch) -> BanditsState:
        x, side = oracle.region.x, self.tile_size
        shape = x.shape if side == 1 else (*x.shape[:2], *(math.ceil(length / side) for length in x.shape[2:]))
        return BanditsState(x, x.new_zeros(shape), torch.zeros_like(oracle.region.eps))

    def step(self, oracle: Scores, state: BanditsState, t: int) -> BanditsState:
        region, b = oracle.region, len(state.image)
        noise = oracle.key.normal("noise", state.prior.shape[1:], t, state.prior.dtype)
        noise /= math.sqrt(noise[0].numel())
        prior, shift = _gradient_of(region, state.prior), self.exploration * noise
        pair = _upsampled(torch.stack((prior + shift, prior - shift), 1).flatten(0, 1), state.image)
        shape = (b, 2, *pair.shape[1:])
        pair = unit(region.masked_many(pair.view(shape)).flatten(0, 1))
        queries = pair.mul_(self.fd_eta * region.inputs.scale).view(shape).add_(state.image[:, None])
        rows = torch.arange(b, device=prior.device).repeat_interleave(2)
        margin = oracle.score(region.clamp_many_(queries).flatten(0, 1), rows=rows).margin.view(-1, 2)
        gain = difference(margin[:, 0], margin[:, 1])
        gain_square = torch.lerp(gain.square(), state.gain_square, GAIN_DECAY)
        usual = (gain_square / (1 - GAIN_DECAY ** (t + 1))).sqrt().clamp_min(tiny(gain_square))
        updated = state.prior + noise * rowwise(self.online_lr * gain / usual, noise)
        size = region.eps / 5 if self.step_size is None else torch.full_like(region.eps, self.step_size)
        step = region.steepest(_upsampled(_gradient_of(region, updated), state.image))
        image = region.nearest_(step.mul_(rowwise(size, step)).add_(state.image))
        promising = (margin.amax(1) > 0).nonzero().squeeze(1)
        if len(promising):
            oracle.score(image[promising], rows=promising)
        return BanditsState(image, updated, gain_square)

    def finish(self, oracle: Scores, state: BanditsState) -> None:
        oracle.score(state.image)


def _gradient_of(region: Region, prior: Tensor) -> Tensor:
    """The prior (B, C, h, w) as a guess of the gradient."""
    return prior.tanh() if math.isinf(region.ball.p) else prior


def _upsampled(tiles: Tensor, images: Tensor) -> Tensor:
    """A grid (Q, C, h, w) over the pixels of `images`; itself where every tile is one component."""
    return tiles if tiles.shape[1:] == images.shape[1:] else F.interpolate(tiles, size=images.shape[2:], mode="nearest")
