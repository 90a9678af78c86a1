"""Defense-GAN (Samangouei, Kabkab & Chellappa 2018, arXiv:1805.06605, section 3).

    x -> G(z*)          z* = argmin_z |G(z) - x|^2

by L steps of gradient descent with momentum from R starts each, of which the best counts. All images and starts go
through G together. The search is no smooth function of the image: BPDA uses the identity (Athalye et al. 2018,
arXiv:1802.00420, who break 45 % of it so), or the projection onto the tangent of G at z*, which is its gradient
where the search has converged and G is not too bent:

    d G(z*) / d x  =  J (J^T J)^-1 J^T          J = d G / d z at z*
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...errors import TargetError
from ...random import Key
from ...transforms import Stage
from ..parameters import check_number, check_whole
from .checks import cast_to_weights, check_module

SLOPES = ("identity", "tangent")


@dataclass(frozen=True, eq=False)
class DefenseGAN(Stage):
    """Replace each image (B, C, H, W) by the nearest one that a generator makes; stochastic by its starts.

    Args:
        generator: from z (N, latent_dim) to images (N, C, H, W) in [0, 1].
        latent_dim: length of z.
        steps: L, 200 in the paper.
        restarts: R, 10 in the paper.
        lr, momentum: of the descent on the mean squared difference per pixel: 10 and 0.7 in the authors' code. The
            learning rate falls to a tenth over the last fifth of the steps.
        init_std: standard deviation of the starts; 1 for a generator of standard normal z.

    Raises: ConfigError, TargetError.
    """

    generator: nn.Module
    latent_dim: int
    steps: int = 200
    restarts: int = 10
    lr: float = 10.0
    momentum: float = 0.7
    init_std: float = 1.0

    def __post_init__(self) -> None:
        check_module(self, self.generator)
        for word in ("latent_dim", "steps", "restarts"):
            check_whole(self, word, getattr(self, word), 1)
        check_number(self, "lr", self.lr, 0, above=True)
        check_number(self, "momentum", self.momentum, 0, 0.999)
        check_number(self, "init_std", self.init_std, 0)

    @property
    def stochastic(self) -> bool:
        return True

    @property
    def differentiable(self) -> bool:
        return False

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        return (self.generator,)

    def __call__(self, images: Tensor, key: Key) -> Tensor:
        with torch.no_grad():
            return self._made(self.code(images, key), images)

    def code(self, images: Tensor, key: Key) -> Tensor:
        """Return z* (B, latent_dim), the code of the nearest image that the generator makes."""
        x = cast_to_weights(self.generator, images.detach())
        starts = self.init_std * key.normal("start", (self.restarts, self.latent_dim), dtype=x.dtype)
        z, speed = starts.flatten(0, 1), torch.zeros_like(starts.flatten(0, 1))
        wanted = x.repeat_interleave(self.restarts, 0)
        for step in range(self.steps):
            lr = self.lr if step < 0.8 * self.steps else 0.1 * self.lr
            with torch.inference_mode(False), torch.enable_grad():
                z = z.detach().requires_grad_()
                (slope,) = torch.autograd.grad(self._distance(z, wanted).sum(), z)
            speed = self.momentum * speed + slope
            z = z.detach() - lr * speed
        with torch.no_grad():
            best = self._distance(z, wanted).view(-1, self.restarts).argmin(1)
        return z.view(-1, self.restarts, self.latent_dim)[torch.arange(len(x), device=x.device), best]

    def _distance(self, z: Tensor, wanted: Tensor) -> Tensor:
        """(N,) mean squared difference."""
        return (self._made(z, wanted) - wanted).square().flatten(1).mean(1)

    def _made(self, z: Tensor, like: Tensor) -> Tensor:
        images: Tensor = self.generator(z)
        if images.shape[1:] != like.shape[1:]:
            raise TargetError(f"the generator makes {tuple(images.shape[1:])}, and images are {tuple(like.shape[1:])}")
        return images.to(like.dtype)
