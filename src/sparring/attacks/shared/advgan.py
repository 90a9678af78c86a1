"""AdvGAN (Xiao et al. 2018, arXiv:1801.02610): a generator that perturbs any image in one forward pass.

    min_G  L_adv + alpha L_GAN + beta L_hinge        L_GAN   = E (D(x + G(x)) - 1)^2
    min_D  E (D(x) - 1)^2 + E D(x + G(x))^2          L_hinge = E max(0, |G(x)|_2 - c)

with the least squares of Mao et al. 2017 (arXiv:1611.04076) in place of the logarithms, as in the authors' experiments.
G is bounded by construction, so the hinge only asks for less than the ball allows, and L_GAN for images that look
unperturbed. Departures: L_adv is 1 - `soft_success`, where the paper has the Carlini-Wagner loss of confidence 0:
images that are broken or hopeless do not dominate the sum, and no scale of logits matters. The target is asked about
the clipped image; the learning rate falls linearly to 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from ...access import Bounds, Gradients, NonNegativeFloat, PositiveFloat, PositiveInt, Shared, SharedBatch
from ...errors import InputError
from ...geometry import L2, Ball, Linf, rowwise
from ...geometry.region import Region
from ...goals import Verdict
from .adam import NetworkState, adam
from .generator import PerturbationGenerator, bound, check_size, perturb
from .networks import Discriminator, Generator, NetworkSpec
from .soft_success import soft_success


@dataclass(frozen=True)
class AdvGANState:
    """The generator, the discriminator, the channels of the images, and how many updates each network has had."""

    generator: NetworkState
    discriminator: NetworkState
    channels: int
    updates: int


@dataclass(frozen=True)
class AdvGAN(Shared[Gradients, AdvGANState, PerturbationGenerator]):
    """Train a generator against one target; each class of a targeted goal takes a generator of its own.

    Args:
        ball: Linf or L2 with a finite eps (Linf 0.3 in the paper's MNIST experiments).
        epochs: passes over the images.
        batch_size: images per step (128 in the paper).
        learning_rate: of Adam, of both networks, at the beginning (0.001 in the paper).
        alpha: weight of L_GAN beside a loss between 0 and 1.
        beta: weight of the hinge.
        hinge_bound: c, an L2 norm; None: of the largest perturbation in the ball, half in Linf, all in L2.
        width: filters of the first layer, 1 to 256; 8 in the paper, more for photographs.
    """

    ball: Ball
    epochs: PositiveInt = 20
    batch_size: PositiveInt = 128
    learning_rate: PositiveFloat = 1e-3
    alpha: NonNegativeFloat = 0.1
    beta: NonNegativeFloat = 0.01
    hinge_bound: NonNegativeFloat | None = None
    width: Annotated[int, Bounds(ge=1, le=256)] = 8

    norms: ClassVar[tuple[type[Ball], ...]] = (Linf, L2)
    uses_region: ClassVar[bool] = True

    def init(self, like: Tensor, seed: int, start: PerturbationGenerator | None) -> AdvGANState:
        check_size(like)
        channels = like.shape[1]
        generator, discriminator = self._networks(channels)
        if start is None:
            weights = generator.initial_weights(seed, like)
        else:
            start.check(like)
            if start.width != self.width:
                raise InputError(f"a generator of width {start.width} cannot go on with width={self.width}")
            weights = start.weights.to(like)
        opponent = NetworkState.initial(discriminator.initial_weights(seed, like))
        return AdvGANState(NetworkState.initial(weights), opponent, channels, 0)

    def step(self, oracle: Gradients, state: AdvGANState, batch: SharedBatch, progress: float) -> AdvGANState:
        generator, discriminator = self._networks(state.channels)
        x, learning_rate = batch.x, self.learning_rate * (1 - progress)
        with torch.enable_grad():
            weights = state.generator.weights.detach().requires_grad_()
            images = self._perturb(oracle.region, generator, weights)
            success_grad = oracle.gradient(images.detach(), objective=success_objective).grad
            opponent = self._update_discriminator(discriminator, state, x, images.detach(), learning_rate)
            loss = -(images * success_grad).flatten(1).sum(1)
            loss = loss + self.alpha * (discriminator.run(opponent.weights, images) - 1).square()
            size = (images - x).flatten(1).square().sum(1).add(1e-12).sqrt()
            loss = loss + self.beta * (size - self._hinge_bound(x)).clamp_min(0)
            (grad,) = torch.autograd.grad(loss.mean(), weights)
        trained = adam(state.generator, grad, learning_rate, state.updates)
        return AdvGANState(trained, opponent, state.channels, state.updates + 1)

    def artifact(self, state: AdvGANState) -> PerturbationGenerator:
        return PerturbationGenerator(state.generator.weights, state.channels, self.width, self.ball)

    def _networks(self, channels: int) -> tuple[NetworkSpec, NetworkSpec]:
        return NetworkSpec(Generator, channels, self.width), NetworkSpec(Discriminator, channels, self.width)

    def _update_discriminator(
        self, discriminator: NetworkSpec, state: AdvGANState, x: Tensor, images: Tensor, learning_rate: float
    ) -> NetworkState:
        """One update of the discriminator, on clean images x and perturbed ones; it sees no labels."""
        weights = state.discriminator.weights.detach().requires_grad_()
        loss = (discriminator.run(weights, x) - 1).square().mean() + discriminator.run(weights, images).square().mean()
        (grad,) = torch.autograd.grad(loss, weights)
        return adam(state.discriminator, grad, learning_rate, state.updates)

    def _perturb(self, region: Region, generator: NetworkSpec, weights: Tensor) -> Tensor:
        """Return the images perturbed by the generator, within the mask and the radius of each."""
        if region.free is None and region.radius == self.ball.eps:
            return perturb(generator, weights, region.x, self.ball)
        share = (region.eps / self.ball.eps).clamp(max=1)
        delta = bound(generator.run(weights, region.x), self.ball)
        return region.clamp(region.x + delta * rowwise(share, region.x))

    def _hinge_bound(self, x: Tensor) -> float:
        if self.hinge_bound is not None:
            return self.hinge_bound
        length = self.ball.euclidean_length(torch.tensor([self.ball.eps]), torch.tensor([float(x[0].numel())]))
        return float(length) / (2 if math.isinf(self.ball.p) else 1)


def success_objective(verdict: Verdict, images: Tensor) -> Tensor:
    """Return `soft_success` (B,), which is 1 - L_adv, as an objective of gradient queries."""
    return soft_success(verdict)
