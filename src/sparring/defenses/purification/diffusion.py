"""Diffusion purification (DiffPure: Nie et al. 2022, arXiv:2205.07460, section 3).

    x_t = sqrt(a_t) x + sqrt(1 - a_t) n            a_t = prod_{s <= t} (1 - beta_s)

up to the time t*, and back by the steps of Ho et al. 2020 (arXiv:2006.11239) or Song et al. 2021 (arXiv:2010.02502, eq.
12 and 16), from t to the next time u:

    x0  = (x_t - sqrt(1 - a_t) e) / sqrt(a_t)                                 e = denoiser(x_t, t)
    x_u = sqrt(a_u) x0 + sqrt(1 - a_u - s^2) e + s n
    s   = eta sqrt((1 - a_u) / (1 - a_t)) sqrt(1 - a_t / a_u)

eta = 1 are the ancestral steps of DDPM, eta = 0 the deterministic ones of DDIM. The diffusion works on images from -1
to 1. Departure: the paper solves the reverse stochastic differential equation, of which the ancestral steps are a
discretisation; its adjoint method is replaced by checkpoints, which give the exact gradient of the steps at the memory
of one pass of the denoiser and one image per step.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ...errors import ConfigError, TargetError
from ...random import Key
from ...transforms import Stage
from ..parameters import check_number, check_whole
from .checks import cast_to_weights, check_module


def linear_betas(n_steps: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02) -> Tensor:
    """Return the noise variances (n_steps,) of Ho et al. 2020 (arXiv:2006.11239, section 4), evenly spaced."""
    return torch.linspace(beta_start, beta_end, n_steps, dtype=torch.float64)


@dataclass(frozen=True, eq=False)
class Diffusion(Stage):
    """Noise and denoise images (B, C, H, W) by a diffusion model; stochastic and differentiable.

    Args:
        denoiser: from (x_t (B, C, H, W), t (B,) int64 in 0..T-1) to the noise in x_t, (B, C, H, W) or (B, 2 C, H, W),
            of which the second half (learned variances) is not read.
        betas: (T,) the noise schedule that the denoiser was trained with.
        t_star: t* as a share of T; Nie et al. take 0.1 on CIFAR-10 and 0.15 on ImageNet in Linf.
        steps: of the way back; None: every time up to t*.
        eta: 1 for DDPM, 0 for DDIM.

    Raises: ConfigError, TargetError.
    """

    denoiser: nn.Module
    betas: Tensor = field(default_factory=linear_betas, repr=False)
    t_star: float = 0.1
    steps: int | None = None
    eta: float = 1.0

    def __post_init__(self) -> None:
        check_module(self, self.denoiser)
        if self.betas.ndim != 1 or not bool(((self.betas > 0) & (self.betas < 1)).all()) or len(self.betas) == 0:
            raise ConfigError("Diffusion betas must be (T,) numbers between 0 and 1; pass linear_betas()")
        check_number(self, "t_star", self.t_star, 0, 1, above=True)
        check_number(self, "eta", self.eta, 0, 1)
        if self.steps is not None:
            check_whole(self, "steps", self.steps, 1, self.deepest)

    @property
    def deepest(self) -> int:
        """Return the number of times up to t*."""
        return max(1, round(self.t_star * len(self.betas)))

    @property
    def stochastic(self) -> bool:
        return True

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        return (self.denoiser,)

    def identity(self) -> tuple[object, ...]:
        return (*super().identity(), self.betas)

    def times(self) -> list[int]:
        """Return the times of the way back, from t* down; positions in betas."""
        count = self.steps or self.deepest
        return [((count - i) * self.deepest + count - 1) // count - 1 for i in range(count)]

    def __call__(self, images: Tensor, key: Key) -> Tensor:
        kept = torch.cumprod(1 - self.betas.double(), 0).tolist()
        x, times, shape = 2 * cast_to_weights(self.denoiser, images) - 1, self.times(), images.shape[1:]
        start = kept[times[0]]
        x = start**0.5 * x + (1 - start) ** 0.5 * key.normal("forward", shape, dtype=x.dtype)
        for step, t in enumerate(times):
            after = kept[times[step + 1]] if step + 1 < len(times) else 1.0
            fresh = self.eta > 0 and after < 1
            noise = key.normal("reverse", shape, step, dtype=x.dtype) if fresh else None
            if torch.is_grad_enabled() and x.requires_grad:
                x = checkpoint(self._back, x, t, kept[t], after, noise, use_reentrant=False, preserve_rng_state=False)
            else:
                x = self._back(x, t, kept[t], after, noise)
        return ((x + 1) / 2).clamp(0, 1).to(images.dtype)

    def _back(self, x: Tensor, t: int, now: float, after: float, noise: Tensor | None) -> Tensor:
        """From a_t = `now` to a_u = `after`."""
        e = self.denoiser(x, torch.full((len(x),), t, dtype=torch.int64, device=x.device))
        e = e[:, : x.shape[1]] if e.shape[1:2] == (2 * x.shape[1],) else e
        if e.shape != x.shape:
            raise TargetError(f"the denoiser gives {tuple(e.shape)} for images {tuple(x.shape)}; it predicts noise")
        spread = 0.0 if noise is None else self.eta * ((1 - after) / (1 - now) * (1 - now / after)) ** 0.5
        mean: Tensor = after**0.5 * (x - (1 - now) ** 0.5 * e) / now**0.5 + max(0.0, 1 - after - spread**2) ** 0.5 * e
        return mean if noise is None else mean + spread * noise
