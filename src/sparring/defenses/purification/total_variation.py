"""Total-variation minimisation on part of the pixels (Guo et al. 2017, arXiv:1711.00117, section 3).

    min_z  1/2 |keep * (z - x)|^2 + lambda * sum_i |(grad z)_i|_2

`keep` is drawn anew for each image: each pixel of each channel is left out with probability `drop_prob`. Solved for
each channel by primal-dual steps (Chambolle & Pock 2011, J. Math. Imaging Vision 40, algorithm 1) with forward
differences and no flow over the edges:

    p <- project(p + dual_step * grad z_bar) to |p_i| <= lambda
    z <- (z + step * (div p + keep * x)) / (1 + step * keep),     z_bar <- 2 z_new - z_old

Departures: the squared data term is that of the authors' code, where the paper has its root; the solver is not the
split Bregman method, for a fixed number of steps treats all images alike. It starts from the mean of the kept pixels
around, so that nothing of a dropped pixel is left.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...random import Key
from ...transforms import Stage
from ..parameters import check_number, check_whole

STEP = 0.5  # of z; the dual step is 1 / (8 STEP), 8 being a bound of |grad|^2
SMOOTH = 10  # steps of the differentiable approximation; with more of them attacks succeed no more often
AROUND = 5  # width of the window whose kept pixels a dropped one starts from


@dataclass(frozen=True)
class TotalVariation(Stage):
    """Drop pixels of images (B, C, H, W) at random, and restore them by the image of least total variation that fits.

    Stochastic. Autograd would go through the solver, but the gradient of one draw covers half of the pixels only. So
    BPDA uses `SMOOTH` steps on the problem with all pixels kept; attacks then succeed more often with fewer draws.

    Args:
        drop_prob: probability that a pixel is left out; 0.5 in Guo et al.
        lambda_: weight of the total variation, in units of pixels; 0.03 in Guo et al.
        steps: of the solver.

    Raises: ConfigError.
    """

    drop_prob: float = 0.5
    lambda_: float = 0.03
    steps: int = 100

    def __post_init__(self) -> None:
        check_number(self, "drop_prob", self.drop_prob, 0, 0.99)
        check_number(self, "lambda_", self.lambda_, 0, above=True)
        check_whole(self, "steps", self.steps, 1)

    @property
    def stochastic(self) -> bool:
        return self.drop_prob > 0

    @property
    def differentiable(self) -> bool:
        return False

    def differentiable_approximation(self, images: Tensor, key: Key) -> Tensor:
        return minimize_total_variation(images, torch.ones_like(images), self.lambda_, SMOOTH)

    def __call__(self, images: Tensor, key: Key) -> Tensor:
        kept = key.uniform("kept", images.shape[1:], dtype=images.dtype) >= self.drop_prob
        return minimize_total_variation(images, kept.to(images), self.lambda_, self.steps).clamp(0, 1)


def minimize_total_variation(images: Tensor, keep: Tensor, lambda_: float, steps: int) -> Tensor:
    """Return the minimizer z (B, C, H, W), after `steps`; `keep` is 1 where a pixel counts and 0 where it does not."""
    z = ahead = _filled(images, keep)
    p = images.new_zeros((2, *images.shape))
    pull, scale = STEP * keep * images, 1 / (1 + STEP * keep)
    tiny = torch.finfo(images.dtype).tiny
    for _ in range(steps):
        p = p + forward_differences(ahead) / (8 * STEP)
        length = p.square().sum(0).clamp_min(tiny).sqrt()
        p = p / (length / lambda_).clamp_min(1)
        moved = (z + STEP * divergence(p) + pull) * scale
        z, ahead = moved, 2 * moved - z
    return z


def total_variation_objective(z: Tensor, images: Tensor, keep: Tensor, lambda_: float) -> Tensor:
    """Return the objective (B,), all channels together."""
    data = (keep * (z - images)).square().flatten(1).sum(1) / 2
    return data + lambda_ * forward_differences(z).square().sum(0).sqrt().flatten(1).sum(1)


def forward_differences(z: Tensor) -> Tensor:
    """Return (2, B, C, H, W) differences to the next row and to the next column; 0 at the last."""
    down, right = F.pad(z.diff(dim=2), (0, 0, 0, 1)), F.pad(z.diff(dim=3), (0, 1))
    return torch.stack((down, right))


def divergence(p: Tensor) -> Tensor:
    """Return (B, C, H, W) minus the adjoint of `forward_differences`."""
    down, right = p[0, :, :, :-1], p[1, :, :, :, :-1]
    return F.pad(down, (0, 0, 0, 1)) - F.pad(down, (0, 0, 1, 0)) + F.pad(right, (0, 1)) - F.pad(right, (1, 0))


def _filled(images: Tensor, keep: Tensor) -> Tensor:
    """Return the images with the mean of the kept pixels around in place of those that are dropped."""
    half = AROUND // 2
    total, count = (F.avg_pool2d(part, AROUND, 1, half, count_include_pad=True) for part in (images * keep, keep))
    return torch.where(keep > 0, images, total / count.clamp_min(1 / AROUND**2))
