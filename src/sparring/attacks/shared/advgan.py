"""AdvGAN (Xiao et al. 2018, arXiv:1801.02610): a generator that moves any image in one forward pass.

    min_G  L_adv + alpha L_GAN + beta L_hinge        L_GAN   = E (D(x + G(x)) - 1)^2
    min_D  E (D(x) - 1)^2 + E D(x + G(x))^2          L_hinge = E max(0, |G(x)|_2 - c)

with the least squares of Mao et al. 2017 in place of the logarithms, as in the authors' experiments. G is bounded by
construction, so the hinge only asks for less than the ball allows, and L_GAN for images that look untouched.
Departures: L_adv is a smooth count of the images that stand, 1 - sigmoid(margin / T) with T the portion's mean
|margin|, where the paper has the Carlini-Wagner loss of confidence 0: images that are lost or hopeless do not rule the
sum, and no scale of logits matters. The target is asked about the clipped image; the learning rate falls linearly to 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ...access import Gradients, Shared, SharedBatch
from ...errors import ConfigError, InputError
from ...geometry import L2, Ball, Linf, rowwise, tiny
from ...geometry.region import Region
from ...goals import Verdict
from .generator import Discriminator, Generated, Generator, Plan, bounded, moved, roomy
from .universal import check


@dataclass(frozen=True)
class Player:
    """A net's weights under way, with Adam's moments."""

    weights: Tensor  # (P,)
    mean: Tensor
    square: Tensor

    @staticmethod
    def fresh(weights: Tensor) -> Player:
        return Player(weights, torch.zeros_like(weights), torch.zeros_like(weights))


@dataclass(frozen=True)
class Game:
    """The generator, its opponent, and how many moves each has made."""

    generator: Player
    discriminator: Player
    channels: int
    moves: int


@dataclass(frozen=True)
class AdvGAN(Shared[Gradients, Game, Generated]):
    """A generator against one target; a targeted goal asks for a generator of its own.

    Args:
        ball: Linf or L2 with a finite eps (Linf 0.3 in the paper's MNIST experiments).
        epochs: over the images.
        portion: images per step (128 in the paper).
        rate: of Adam, of both nets, at the beginning (0.001 in the paper).
        alpha: weight of L_GAN beside a loss between 0 and 1.
        beta: weight of the hinge.
        bound: c, in units of the L2 norm; None: of the largest move that the ball allows, half in Linf, all in L2.
        width: filters of the first layer; 8 in the paper, more for photographs.
    """

    ball: Ball
    epochs: int = 20
    portion: int = 128
    rate: float = 1e-3
    alpha: float = 0.1
    beta: float = 0.01
    bound: float | None = None
    width: int = 8

    norms: ClassVar[tuple[type[Ball], ...]] = (Linf, L2)
    regional: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self.name, self.epochs, self.portion)
        weighed = self.rate > 0 and self.alpha >= 0 and self.beta >= 0 and (self.bound is None or self.bound >= 0)
        if not weighed or not 1 <= self.width <= 256:
            given = f"rate={self.rate}, alpha={self.alpha}, beta={self.beta}, bound={self.bound}, width={self.width}"
            raise ConfigError(f"{self.name} {given}; pass a rate above 0, weights of at least 0, a width of 1 to 256")

    def init(self, like: Tensor, seed: int, start: Generated | None) -> Game:
        roomy(like)
        channels = like.shape[1]
        plan, opponent = self._plans(channels)
        if start is None:
            weights = plan.drawn(seed, like)
        else:
            start.check(like)
            if start.width != self.width:
                raise InputError(f"a generator of width {start.width} cannot go on with width={self.width}")
            weights = start.weights.to(like)
        return Game(Player.fresh(weights), Player.fresh(opponent.drawn(seed, like)), channels, 0)

    def step(self, oracle: Gradients, state: Game, portion: SharedBatch, progress: float) -> Game:
        plan, opponent = self._plans(state.channels)
        x, rate = portion.x, self.rate * (1 - progress)
        with torch.enable_grad():
            weights = state.generator.weights.detach().requires_grad_()
            images = self._moved(oracle.region, plan, weights)
            uphill = oracle.gradient(images.detach(), objective=falling).grad
            discriminator = self._discriminated(opponent, state, x, images.detach(), rate)
            loss = -(images * uphill).flatten(1).sum(1)
            loss = loss + self.alpha * (opponent.run(discriminator.weights, images) - 1).square()
            size = (images - x).flatten(1).square().sum(1).add(1e-12).sqrt()
            loss = loss + self.beta * (size - self._bound(x)).clamp_min(0)
            (slope,) = torch.autograd.grad(loss.mean(), weights)
        return Game(adam(state.generator, slope, rate, state.moves), discriminator, state.channels, state.moves + 1)

    def artifact(self, state: Game) -> Generated:
        return Generated(state.generator.weights, state.channels, self.width, self.ball)

    def _plans(self, channels: int) -> tuple[Plan, Plan]:
        return Plan(Generator, channels, self.width), Plan(Discriminator, channels, self.width)

    def _discriminated(self, opponent: Plan, state: Game, x: Tensor, images: Tensor, rate: float) -> Player:
        """The discriminator after its move: it sees images, and no labels."""
        weights = state.discriminator.weights.detach().requires_grad_()
        loss = (opponent.run(weights, x) - 1).square().mean() + opponent.run(weights, images).square().mean()
        (slope,) = torch.autograd.grad(loss, weights)
        return adam(state.discriminator, slope, rate, state.moves)

    def _moved(self, region: Region, plan: Plan, weights: Tensor) -> Tensor:
        """The images as the generator moves them, within the mask and the radius of each."""
        if region.free is None and region.radius == self.ball.eps:
            return moved(plan, weights, region.x, self.ball)
        share = (region.eps / self.ball.eps).clamp(max=1)
        return region.clamp(region.x + bounded(plan.run(weights, region.x), self.ball) * rowwise(share, region.x))

    def _bound(self, x: Tensor) -> float:
        if self.bound is not None:
            return self.bound
        length = self.ball.euclidean_length(torch.tensor([self.ball.eps]), torch.tensor([float(x[0].numel())]))
        return float(length) / (2 if math.isinf(self.ball.p) else 1)


def falling(verdict: Verdict, images: Tensor) -> Tensor:
    """(B,) between 0 and 1: a smooth word for whether the image has fallen, 1 - L_adv."""
    scale = verdict.margin.detach().abs().mean().clamp_min(tiny(verdict.margin))
    return (verdict.margin / scale).sigmoid()


def adam(player: Player, slope: Tensor, rate: float, moves: int) -> Player:
    """One step down the slope (Kingma & Ba 2015, arXiv:1412.6980, algorithm 1, with its defaults)."""
    mean = player.mean.lerp(slope, 0.1)
    square = player.square.lerp(slope.square(), 0.001)
    step = mean / (1 - 0.9 ** (moves + 1)) / ((square / (1 - 0.999 ** (moves + 1))).sqrt() + 1e-8)
    return Player(player.weights - rate * step, mean, square)
