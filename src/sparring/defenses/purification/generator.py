"""A generator for Defense-GAN that learns in minutes: the decoder of a variational autoencoder.

    min  E |G(m + s n) - x|^2 / (2 sigma^2) + KL( N(m, s^2) || N(0, 1) ),     (m, log s^2) = E(x)

summed over pixels and over z (Kingma & Welling 2014, arXiv:1312.6114, eq. 10). Departure from Samangouei et al. 2018:
they train a Wasserstein GAN with gradient penalty for 200,000 steps. What the defence asks of G is that clean images
lie near its range, and that is what this loss asks for.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...errors import InputError
from ..fitting import EpochProgress, FitConfig, minimize_loss
from ..parameters import check_number, check_whole
from .checks import cast_to_weights, check_clean_images


class VAEGenerator(nn.Module):
    """z (N, latent_dim) -> images (N, channels, *size) in [0, 1].

        linear 2w x H/4 x W/4 - relu - up w - relu - up C - sigmoid

    up: a transposed 4 x 4 convolution of stride 2. Sides that are no multiples of 4 are cut.
    """

    def __init__(self, channels: int, size: tuple[int, int], latent_dim: int = 32, width: int = 16) -> None:
        super().__init__()
        for word, value in (("channels", channels), ("latent_dim", latent_dim), ("width", width), ("size", min(size))):
            check_whole(self, word, value, 1)
        self.channels, self.size, self.latent_dim, self.width = channels, size, latent_dim, width
        self.grid = (2 * width, -(-size[0] // 4), -(-size[1] // 4))
        self.layers = nn.Sequential(
            nn.Linear(latent_dim, self.grid[0] * self.grid[1] * self.grid[2]),
            nn.ReLU(),
            nn.Unflatten(1, self.grid),
            nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(width, channels, 4, stride=2, padding=1),
        )

    def forward(self, z: Tensor) -> Tensor:
        height, width = self.size
        logits: Tensor = self.layers(z)[:, :, :height, :width]
        return logits.sigmoid()


class _Encoder(nn.Module):
    """Images -> mean and log variance of z (N, 2 latent_dim)."""

    def __init__(self, made: VAEGenerator) -> None:
        super().__init__()
        flat = made.grid[0] * made.grid[1] * made.grid[2]
        self.layers = nn.Sequential(
            nn.Conv2d(made.channels, made.width, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(made.width, 2 * made.width, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(flat, 2 * made.latent_dim),
        )

    def forward(self, images: Tensor) -> Tensor:
        code: Tensor = self.layers(images)
        return code


def fit_generator(
    generator: VAEGenerator,
    images: Tensor,
    *,
    sigma: float = 0.1,
    config: FitConfig | None = None,
    progress: EpochProgress | None = None,
) -> tuple[float, ...]:
    """Train the generator in place; its encoder is made here and thrown away.

    Args:
        images: (N, C, H, W) clean, in [0, 1], of the generator's size, on its device.
        sigma: standard deviation of a pixel around what G makes; the smaller, the nearer G comes to the images, and
            the less z looks like standard normal.
        config: how; see `FitConfig`.
        progress: called after every epoch with its number, their number and the mean loss.

    Returns:
        The mean loss of each epoch. The generator ends in eval mode; the global random state is as it was.

    Raises: InputError, ConfigError, RunError.
    """
    config = config or FitConfig()
    check_number(generator, "sigma", sigma, 0, above=True)
    check_clean_images("a generator", images, generator.channels)
    if tuple(images.shape[2:]) != tuple(generator.size):
        raise InputError(f"the generator makes {generator.size}, and the images are {tuple(images.shape[2:])}")
    x_all = cast_to_weights(generator, images)
    with torch.random.fork_rng([x_all.device] if x_all.is_cuda else []):
        torch.manual_seed(config.seed)
        encoder = _Encoder(generator).to(x_all)

    def loss(rows: Tensor) -> Tensor:
        x = x_all[rows]
        mean, log_variance = encoder(x).chunk(2, 1)
        z = mean + (log_variance / 2).exp() * torch.randn_like(mean)
        misfit = (generator(z) - x).square().flatten(1).sum(1) / (2 * sigma**2)
        divergence = (mean.square() + log_variance.exp() - log_variance - 1).sum(1) / 2
        total: Tensor = (misfit + divergence).mean()
        return total

    return minimize_loss((generator, encoder), len(images), loss, config, progress)
