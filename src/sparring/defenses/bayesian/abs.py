"""Analysis by synthesis (Schott, Rauber, Bethge & Brendel 2019, arXiv:1805.09190, section 3 and appendix).

    l_y(x) = max_z  log N(x; G_y(z), sigma^2) - KL( N(z, 1) || N(0, 1) ),   KL = |z|^2 / 2;   the answer is argmax_y l_y

z is searched anew for each image and class: the best of many draws from the prior, then gradient steps with Adam. The
draws are the same for every image, so that the answer is no random one.

The search has no gradient of its own, and needs none: at a maximum, d l_y / d x = (G_y(z*) - x) / sigma^2 with z* held
constant (the envelope theorem). That is exact where the search has converged; `gradient="unrolled"` differentiates
through its steps instead.

The binary ABS of the paper is one that was trained on binarised images, behind a stage that binarises, which an
adaptive attack passes by BPDA:

    defended = Defended(Classifier(ABS(vae)), BitDepth(1))
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ...errors import ConfigError, TargetError
from ...random import Key
from ..parameters import check_number, check_whole
from .class_vae import ClassVAE

BETA_1, BETA_2, SMALL = 0.9, 0.999, 1e-8  # of Adam
GRADIENTS = ("envelope", "unrolled")


class ABS(nn.Module):
    """Images (B, C, H, W) in [0, 1] -> l_y(x) / temperature (B, K), without the constant that all classes share.

    Args:
        vae: the generators of the classes, trained already.
        n_samples: draws from the prior per class (8,000 in the authors' code).
        starts: how many of them, the best, are followed by gradient steps (1 there).
        steps: gradient steps (50 there).
        lr: of Adam (0.05 there).
        max_latent: bound of each coordinate of z (5 there).
        temperature: divides the logits, whose differences are nats of 784 pixels: at 1 the cross-entropy has no slope
            left in float32, which would hide gradients without defending. The authors scale too.
        gradient: "envelope" or "unrolled".

    Raises: ConfigError, TargetError.
    """

    codes: Tensor

    def __init__(
        self,
        vae: ClassVAE,
        n_samples: int = 1000,
        starts: int = 1,
        steps: int = 50,
        lr: float = 0.05,
        max_latent: float = 5.0,
        temperature: float = 10.0,
        gradient: str = "envelope",
    ) -> None:
        super().__init__()
        given: Any = vae
        if not isinstance(given, ClassVAE):
            raise TargetError(f"ABS is built around a ClassVAE, not a {type(given).__name__}")
        check_whole(self, "n_samples", n_samples, 1)
        check_whole(self, "starts", starts, 1, n_samples)
        check_whole(self, "steps", steps, 0)
        for word, value in (("lr", lr), ("max_latent", max_latent), ("temperature", temperature)):
            check_number(self, word, value, 0, above=True)
        if gradient not in GRADIENTS:
            raise ConfigError(f"ABS gradient={gradient!r}; pass one of {', '.join(GRADIENTS)}")
        self.vae, self.n_samples, self.starts, self.steps = vae, n_samples, starts, steps
        self.lr, self.max_latent, self.temperature, self.gradient = lr, max_latent, temperature, gradient
        weight = next(vae.parameters())
        codes = Key(torch.zeros(1, dtype=torch.int64), 0).normal("prior", (n_samples, vae.latent_dim))[0]
        self.register_buffer("codes", codes.clamp(-max_latent, max_latent).to(weight), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        if tuple(images.shape[1:]) != self.vae.shape:
            raise TargetError(
                f"ABS is of images {self.vae.shape}, and cannot take those of shape {tuple(images.shape[1:])}"
            )
        flat = images.flatten(1)
        unrolled = self.gradient == "unrolled" and torch.is_grad_enabled() and flat.requires_grad
        z = self._search(flat if unrolled else flat.detach(), unrolled)
        every = self._bound(flat.repeat_interleave(self.starts, 0), z).view(len(z), -1, self.starts)
        return every.amax(2).T / self.temperature

    @torch.no_grad()
    def explain(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return l_y(x) (B, K) up to a constant, and G_y(z*) (B, K, C, H, W), of each class the image nearest to x."""
        flat = images.detach().flatten(1)
        z = self._search(flat, unrolled=False)
        every = self._bound(flat.repeat_interleave(self.starts, 0), z).view(len(z), -1, self.starts)
        bounds, best = every.max(2)
        z = z.view(*every.shape, -1).gather(2, best[:, :, None, None].expand(-1, -1, 1, z.shape[2]))
        return bounds.T, self.vae.decode(z.squeeze(2)).transpose(0, 1).reshape(len(flat), -1, *self.vae.shape)

    def _bound(self, flat: Tensor, z: Tensor) -> Tensor:
        """(K, N) l_y at z (K, N, latent_dim) for flat images (N, pixels), up to a constant."""
        misfit = (flat - self.vae.decode(z)).square().sum(2) / (2 * self.vae.sigma**2)
        return -misfit - z.square().sum(2) / 2

    def _search(self, flat: Tensor, unrolled: bool) -> Tensor:
        """(K, B * starts, latent_dim): where the search for z ends, for each image from each of its starts."""
        z = self._starts(flat.detach())
        with torch.inference_mode(False), torch.enable_grad():
            wanted = flat.clone().repeat_interleave(self.starts, 0)  # tensors of inference mode have no gradient
            z = z.clone()
            mean, square = torch.zeros_like(z), torch.zeros_like(z)
            for step in range(1, self.steps + 1):
                z = z if unrolled and step > 1 else z.detach().clone().requires_grad_()
                (slope,) = torch.autograd.grad(self._bound(wanted, z).sum(), z, create_graph=unrolled)
                mean = BETA_1 * mean + (1 - BETA_1) * slope
                square = BETA_2 * square + (1 - BETA_2) * slope.square()
                length = (square / (1 - BETA_2**step) + SMALL**2).sqrt()
                z = (z + self.lr * mean / (1 - BETA_1**step) / length).clamp(-self.max_latent, self.max_latent)
        return z if unrolled else z.detach()

    @torch.no_grad()
    def _starts(self, flat: Tensor) -> Tensor:
        """(K, B * starts, latent_dim): the draws from the prior with the highest l_y."""
        codes = self.codes.to(flat)
        decoded = self.vae.decode(codes.expand(self.vae.classes, -1, -1))
        own = -decoded.square().sum(2) / (2 * self.vae.sigma**2) - codes.square().sum(1) / 2
        bounds = torch.baddbmm(
            own[:, None], flat.expand(len(decoded), -1, -1), decoded.transpose(1, 2), alpha=self.vae.sigma**-2
        )
        return codes[bounds.topk(self.starts, 2).indices].flatten(1, 2)
