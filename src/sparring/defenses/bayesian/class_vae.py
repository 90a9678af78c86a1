"""One variational autoencoder for each class (Schott et al. 2019, arXiv:1805.09190, section 3; Kingma & Welling 2014).

    log p(x | y)  >=  E_{z ~ q}  log N(x; G_y(z), sigma^2)  -  KL( q || N(0, 1) ),      q = N(m, diag(s^2)) = E_y(x)

The networks of all classes are evaluated together: each product of matrices is one batched product.

Departures from the paper: G_y and E_y are perceptrons with one hidden layer where the authors have four convolutions.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ...errors import InputError
from ..fitting import EpochProgress, FitConfig, minimize_loss
from ..parameters import check_number, check_whole
from ..purification.checks import cast_to_weights, check_clean_images


class ClassLinear(nn.Module):
    """A linear layer for each class: (K, N, inputs) -> (K, N, outputs)."""

    def __init__(self, classes: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(classes, inputs, outputs))
        self.bias = nn.Parameter(torch.empty(classes, 1, outputs))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weights and biases as `nn.Linear` does."""
        bound = self.weight.shape[1] ** -0.5
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, inputs, self.weight)


class ClassVAE(nn.Module):
    """K autoencoders of images; `decode` is what a classifier by `ABS` needs, `encode` what the training needs.

    Args:
        classes: K.
        shape: (C, H, W) of an image.
        latent_dim: length of z; 8 in the paper.
        hidden: width of the hidden layers.
        sigma: standard deviation of a pixel around what is decoded.

    Raises: ConfigError.
    """

    def __init__(
        self, classes: int, shape: tuple[int, int, int], latent_dim: int = 8, hidden: int = 64, sigma: float = 0.3
    ) -> None:
        super().__init__()
        for word, value in (
            ("classes", classes),
            ("latent_dim", latent_dim),
            ("hidden", hidden),
            ("shape", min(shape)),
        ):
            check_whole(self, word, value, 1)
        check_number(self, "sigma", sigma, 0, above=True)
        self.classes, self.shape, self.latent_dim, self.sigma = classes, tuple(shape), latent_dim, float(sigma)
        pixels = math.prod(shape)
        self.encoder = nn.Sequential(
            ClassLinear(classes, pixels, 2 * hidden), nn.ELU(), ClassLinear(classes, 2 * hidden, 2 * latent_dim)
        )
        self.decoder = nn.Sequential(
            ClassLinear(classes, latent_dim, hidden), nn.ELU(), ClassLinear(classes, hidden, pixels)
        )

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log standard deviation (K, N, latent_dim) of z for flat images (K, N, pixels)."""
        mean, log_std = self.encoder(images).chunk(2, 2)
        return mean, log_std

    def decode(self, z: Tensor) -> Tensor:
        """Return flat images (K, N, pixels) in [0, 1] for z (K, N, latent_dim)."""
        images: Tensor = self.decoder(z).sigmoid()
        return images

    def elbo(self, images: Tensor, noise: Tensor) -> Tensor:
        """Return the evidence lower bound (K, N) in nats, by one draw of z each, for flat images (K, N, pixels).

        `noise` (K, N, latent_dim) is standard normal.
        """
        mean, log_std = self.encode(images)
        z = mean + log_std.exp() * noise
        divergence = (mean.square() + (2 * log_std).exp() - 1) / 2 - log_std
        return self.log_likelihood(images, z) - divergence.sum(2)

    def log_likelihood(self, images: Tensor, z: Tensor) -> Tensor:
        """Return log N(x; G_y(z), sigma^2) (K, N) in nats, of flat images (K, N, pixels), or (1, N, pixels)."""
        misfit = (images - self.decode(z)).square().sum(2) / (2 * self.sigma**2)
        return -misfit - images.shape[2] / 2 * math.log(2 * math.pi * self.sigma**2)


def fit_class_vae(
    vae: ClassVAE,
    images: Tensor,
    labels: Tensor,
    *,
    config: FitConfig | None = None,
    progress: EpochProgress | None = None,
) -> tuple[float, ...]:
    """Train the autoencoders in place, each on the images of its class.

    An update takes the same number of images of every class; an epoch goes once through the largest class, and through
    a smaller one as often as that takes.

    Args:
        images: (N, C, H, W) clean, in [0, 1], on the device of `vae`.
        labels: (N,) int64, each class at least once.
        config: how; `batch_size` is per class.
        progress: called after every epoch with its number, their number and the mean loss.

    Returns:
        The mean of -ELBO in nats, of each epoch. `vae` ends in eval mode; the global random state is as it was.

    Raises: InputError, ConfigError, RunError.
    """
    check_clean_images("a class VAE", images, vae.shape[0])
    if tuple(images.shape[1:]) != vae.shape:
        raise InputError(f"the class VAE is of images {vae.shape}, and these are {tuple(images.shape[1:])}")
    if labels.shape != (len(images),) or labels.is_floating_point():
        raise InputError(f"labels have shape {tuple(labels.shape)} for {len(images)} images; pass (N,) int64")
    counts = torch.bincount(labels.clamp(0), minlength=vae.classes)
    if int(labels.min()) < 0 or len(counts) > vae.classes or not bool(counts.all()):
        raise InputError(
            f"labels must be 0 to {vae.classes - 1}, each at least once; these go from {int(labels.min())} to "
            f"{int(labels.max())}, and {int((counts == 0).sum())} classes have no image"
        )
    flat = cast_to_weights(vae, images).flatten(1)
    order, first = labels.argsort(), counts.cumsum(0) - counts

    def loss(rows: Tensor) -> Tensor:
        places = first[:, None] + rows % counts[:, None]
        noise = torch.randn(vae.classes, len(rows), vae.latent_dim, dtype=flat.dtype, device=flat.device)
        value: Tensor = -vae.elbo(flat[order[places]], noise).mean()
        return value

    return minimize_loss((vae,), int(counts.max()), loss, config or FitConfig(), progress)
