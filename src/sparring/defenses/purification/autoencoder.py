"""A denoising autoencoder (Vincent et al. 2008, ICML; as a defence Gu & Rigazio 2014, arXiv:1412.5068).

min  E |A(clip(x + sigma n)) - x|^2 per pixel,     n standard normal; without clip for randomised smoothing
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..fitting import FitConfig, minimize_loss
from ..parameters import check_number, check_whole
from .checks import cast_to_weights, check_clean_images
from .denoiser import Denoiser


class DenoisingAutoencoder(nn.Module):
    """Images (B, C, H, W) in [0, 1] -> images, not clipped, through a bottleneck of a quarter of each side.

        conv w - relu - conv 2w /2 - relu - conv 2w /2 - relu - conv 2w - up 2 - conv w - relu - up 2 - conv C

    3 x 3 convolutions, of stride 2 where /2. Sides that are no multiples of 4 are padded inside.
    """

    def __init__(self, channels: int, width: int = 16) -> None:
        super().__init__()
        check_whole(self, "channels", channels, 1)
        check_whole(self, "width", width, 1)
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(2 * width, 2 * width, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(2 * width, 2 * width, 3, padding=1),
            nn.ReLU(),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(2 * width, width, 3, padding=1),
            nn.ReLU(),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(width, channels, 3, padding=1),
        )

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[2:]
        padded = F.pad(images, (0, -width % 4, 0, -height % 4), mode="replicate")
        answer: Tensor = self.layers(padded)[:, :, :height, :width]
        return answer


def fit_denoiser(
    stage: Denoiser,
    images: Tensor,
    *,
    sigma: float = 0.3,
    clip: bool = True,
    config: FitConfig | None = None,
    progress: Callable[[int, int, float], None] | None = None,
) -> tuple[float, ...]:
    """Train the stage's network in place to take Gaussian noise away.

    Args:
        images: (N, C, H, W) clean, in [0, 1], on the network's device.
        sigma: its standard deviation.
        clip: noisy images into [0, 1]; False for a denoiser within randomised smoothing, whose noise is not clipped.
        config: how; see `FitConfig`.
        progress: called after every epoch with its number, their number and the mean loss.

    Returns:
        The mean loss of each epoch. The network ends in eval mode; the global random state is as it was.

    Raises: InputError, ConfigError, RunError.
    """
    check_clean_images("a denoiser", images)
    check_number(stage, "sigma", sigma, 0, above=True)
    clean = cast_to_weights(stage.module, images)

    def loss(rows: Tensor) -> Tensor:
        x = clean[rows]
        noisy = x + sigma * torch.randn_like(x)
        return F.mse_loss(stage.unclipped(noisy.clamp(0, 1) if clip else noisy), x)

    return minimize_loss((stage.module,), len(images), loss, config or FitConfig(), progress)
