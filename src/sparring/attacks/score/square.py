"""Square Attack (Andriushchenko et al. 2020, arXiv:1912.00049, algorithms 1 to 3).

Random search over square windows, a query at a time: keep a change where the margin grows. Linf starts from
vertical stripes and paints a window with eps or -eps per channel (algorithm 2). L2 starts from a grid of
tiles and moves the norm of one window, plus what is left of the budget, into another (algorithm 3); L1 does the
same with its own norm (Croce & Hein 2021, arXiv:2103.01208, section 4).

The window covers a share p of the image that halves at 10, 50, 200, 500, 1000, 2000, 4000, 6000 and 8000 of
10,000 queries, scaled to the attack's own number of queries.

Departures: windows and signs are drawn per row, not once per batch; the margin is climbed for every goal.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from ...access import Attack, Batch, Scores
from ...errors import ConfigError, ThreatError
from ...geometry import L1, L2, Ball, Linf, rowwise, tiny, unit
from ...random import Key

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # of 10,000
BLOCK = 64  # steps whose draws are made at once
DRAWS = 5  # per step: two windows' corners, and the bits of the signs
TILES = 5  # per side of the start in L2


@dataclass(frozen=True)
class Board:
    """The best perturbation of each row so far, and the draws of the next steps."""

    x: Tensor
    delta: Tensor
    margin: Tensor
    key: Key
    draws: Tensor  # (B, BLOCK, DRAWS) int64


@dataclass(frozen=True)
class Square(Attack[Scores, Board]):
    """Score-based random search.

    Args:
        ball: Linf, L2 or L1 with a finite eps.
        steps: queries per row.
        share: the first window's share of the image (the paper: 0.05 for Linf and 0.1 for L2; AutoAttack: 0.8).
        horizon: queries that the schedule of window sizes is laid out for; None: `steps` (AutoAttack: 10,000).
    """

    ball: Ball
    steps: int = 5000
    share: float = 0.8
    horizon: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.ball, Linf | L2 | L1):
            raise ThreatError(f"Square knows Linf, L2 and L1, not {self.ball}; use PGD there")
        self.ball.bounded(self.name)
        if not 0 < self.share <= 1 or self.steps < 1 or (self.horizon is not None and self.horizon < 1):
            numbers = f"share={self.share}, steps={self.steps}, horizon={self.horizon}"
            raise ConfigError(f"Square {numbers}; pass a share in (0, 1] and steps and horizon >= 1")

    @property
    def warm(self) -> bool:
        return True

    def init(self, oracle: Scores, batch: Batch) -> Board:
        key, x = batch.key, batch.x
        if batch.start is not None:
            delta = self.ball.project(batch.start - x, x)
        else:
            delta = _stripes(key, x, self.ball) if isinstance(self.ball, Linf) else _tiles(key, x, self.ball)
        margin = oracle.score(x + delta).margin
        return Board(x, delta, margin, key, key.integers("moves", (BLOCK, DRAWS), 1 << 31, 0))

    def step(self, oracle: Scores, state: Board, t: int) -> Board:
        if t == 0:
            return state  # the start was the first query
        if t % BLOCK == 0:
            draws = state.key.integers("moves", (BLOCK, DRAWS), 1 << 31, t)
            state = replace(state, draws=draws)
        move = state.draws[:, t % BLOCK]
        trial = proposal(self.ball, state.x, state.delta, move, self._share(t))
        margin = oracle.score(state.x + trial).margin
        better = margin > state.margin
        delta = torch.where(rowwise(better, trial), trial, state.delta)
        return replace(state, delta=delta, margin=torch.where(better, margin, state.margin))

    def _share(self, t: int) -> float:
        scaled = t / (self.horizon or self.steps) * 10_000
        return self.share / (1 << sum(scaled > mark for mark in HALVINGS))


def proposal(ball: Ball, x: Tensor, delta: Tensor, move: Tensor, share: float) -> Tensor:
    """A perturbation of `x` that differs from `delta` in a window of this share of the image; `move` (B, DRAWS)."""
    return _painted(ball, x, delta, move, share) if isinstance(ball, Linf) else _moved(ball, x, delta, move, share)


def _painted(ball: Ball, x: Tensor, delta: Tensor, move: Tensor, share: float) -> Tensor:
    """Algorithm 2: a window at eps or -eps per channel."""
    _, channels, height, width = x.shape
    side = min(max(round(math.sqrt(share * height * width)), 1), height - 1 or 1, width - 1 or 1)
    window = _window(move[:, 0], move[:, 1], side, x)
    pixels = x.flatten(2).gather(2, window)
    colour = (_signs(move[:, 4], channels, x.dtype) * ball.eps)[:, :, None].expand_as(pixels)
    painted = ball.project(colour, pixels)
    return delta.flatten(2).scatter(2, window, painted).view_as(x)


def _moved(ball: Ball, x: Tensor, delta: Tensor, move: Tensor, share: float) -> Tensor:
    """Algorithm 3: the norm of two windows, and the unused budget, into the first of them."""
    _, channels, height, width = x.shape
    side = max(round(math.sqrt(share * height * width)), 3) // 2 * 2 + 1
    side = min(side, height, width)
    first, second = (_window(move[:, i], move[:, i + 1], side, x) for i in (0, 2))
    flat, eps = delta.flatten(2), ball.eps
    own = flat.gather(2, first)
    cleared = flat.scatter(2, second, 0.0)
    power = 1 if isinstance(ball, L1) else 2
    both = flat.gather(2, second).abs().pow(power).sum(2) + cleared.gather(2, first).abs().pow(power).sum(2)
    left = (eps**power - flat.abs().pow(power).sum((1, 2))).clamp_min(0) / channels
    eta = bump(side, flat.dtype, flat.device)
    lying = ((move[:, 0] ^ move[:, 1]) & 1 == 1)[:, None]
    shape = torch.where(lying, eta.flatten(), eta.T.flatten())[:, None]
    shape = shape if power == 2 else _unit(shape, power)
    fresh = shape * _signs(move[:, 4], channels, flat.dtype)[:, :, None] + _unit(own, power)
    fresh = _unit(fresh, power) * (left[:, None] + both).pow(1 / power)[:, :, None]
    trial = cleared.scatter(2, first, fresh).view_as(x)
    norm = ball.norm(trial).clamp_min(tiny(trial))
    return ball.project(trial * rowwise(eps / norm, trial), x)


def _unit(window: Tensor, power: int) -> Tensor:
    """(B, C, n) scaled to norm 1 (L1 or L2) per channel; zero stays zero."""
    norm: Tensor = torch.linalg.vector_norm(window, power, dim=2, keepdim=True)
    return window / norm.clamp_min(tiny(window))


def _window(top: Tensor, left: Tensor, side: int, x: Tensor) -> Tensor:
    """(B, C, side^2) flat positions of a square per row, its corner from two draws in [0, 2^31)."""
    _, channels, height, width = x.shape
    corner = ((top * (height - side + 1)) >> 31) * width + ((left * (width - side + 1)) >> 31)
    steps = torch.arange(side, device=x.device)
    square = (steps[:, None] * width + steps).flatten()
    return (corner[:, None] + square)[:, None].expand(-1, channels, -1)


def _signs(draw: Tensor, channels: int, dtype: torch.dtype) -> Tensor:
    """(B, C) of -1 and 1 from the bits of one draw."""
    return ((draw[:, None] >> (torch.arange(channels, device=draw.device) % 31)) & 1).to(dtype) * 2 - 1


def _half_bump(height: int, width: int, dtype: torch.dtype) -> Tensor:
    """(height, width): nested rectangles around the middle, each adding 1 / (M + 1 - i)^2, of norm 1."""
    bump = torch.zeros(height, width, dtype=dtype)
    middle, count = (height // 2, width // 2), max(height, width) // 2 + 1
    top, left = middle
    bottom, right = top + 1, left + 1
    for i in range(count):
        bump[max(top, 0) : bottom, max(left, 0) : right] += 1 / (i + 1) ** 2
        top, left, bottom, right = top - 1, left - 1, bottom + 1, right + 1
    return unit(bump[None])[0]


@lru_cache(maxsize=64)
def bump(side: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(side, side): one half up, the other down, of norm 1 (the paper's eta, section 3.3)."""
    half = side // 2
    if half == 0:
        return torch.ones(1, 1, dtype=dtype, device=device)
    both = torch.cat((_half_bump(half, side, dtype), -_half_bump(side - half, side, dtype)))
    return unit(both[None])[0].to(device)


def _stripes(key: Key, x: Tensor, ball: Ball) -> Tensor:
    """The start in Linf: each column of each channel at eps or -eps."""
    stripes = key.signs("stripes", (x.shape[1], 1, x.shape[3]), dtype=x.dtype)
    return ball.project((stripes * ball.eps).expand_as(x), x)


def _tiles(key: Key, x: Tensor, ball: Ball) -> Tensor:
    """The start in L2 and L1: a grid of bumps with random signs, scaled to the sphere."""
    _, channels, height, width = x.shape
    side = max(min(height, width) // TILES, 1)
    rows, columns = height // side, width // side
    tile = bump(side, x.dtype, x.device)
    signs = key.signs("tiles", (channels, rows, columns), dtype=x.dtype)
    grid = torch.einsum("bcij,kl->bcikjl", signs, tile).reshape(len(x), channels, rows * side, columns * side)
    above, before = (height - rows * side) // 2, (width - columns * side) // 2
    delta = torch.zeros_like(x)
    delta[:, :, above : above + rows * side, before : before + columns * side] = grid
    return ball.project(delta * rowwise(ball.eps / ball.norm(delta), delta), x)
