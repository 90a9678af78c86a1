"""The networks of AdvGAN: a generator of perturbations and its discriminator.

The architectures of AdvGAN for digits (Xiao et al. 2018, arXiv:1801.02610, appendix), of width w = 8:

    G: c3s1-w, d2w, d4w, r4w x 4, u2w, uw, c3s1-C        D: c-w, c-2w, c-4w, FC

c3s1, d and u: a 3x3 convolution of stride 1, 2, 1/2 with instance norm and ReLU; r: a residual block; c: a 4x4
convolution of stride 2 with instance norm (not in the first) and leaky ReLU. Images whose sides are no multiples of 4
are padded inside. Departure: FC reads the mean over all places, so that D takes images of any size. Nothing in the
networks depends on the batch or on the mode: an image is perturbed alone as it is among others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from ...random import Key

BLOCKS = 4


class Generator(nn.Module):
    """Images (B, C, H, W) -> perturbations (B, C, H, W), not yet bounded.

    Args:
        channels: C.
        width: filters of the first layer.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_normed(nn.Conv2d(channels, width, 3, padding=1), width),
            *_normed(nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), 2 * width),
            *_normed(nn.Conv2d(2 * width, 4 * width, 3, stride=2, padding=1), 4 * width),
            *(_Residual(4 * width) for _ in range(BLOCKS)),
            *_normed(nn.ConvTranspose2d(4 * width, 2 * width, 3, stride=2, padding=1, output_padding=1), 2 * width),
            *_normed(nn.ConvTranspose2d(2 * width, width, 3, stride=2, padding=1, output_padding=1), width),
            nn.Conv2d(width, channels, 3, padding=1),
        )

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[2:]
        padded = F.pad(images, (0, -width % 4, 0, -height % 4), mode="replicate")
        delta: Tensor = self.layers(padded)[:, :, :height, :width]
        return delta


class Discriminator(nn.Module):
    """Images (B, C, H, W) -> (B,): towards 1 for clean images, towards 0 for perturbed ones. It reads no labels.

    Args:
        channels: C.
        width: filters of the first layer.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        widths = (channels, width, 2 * width, 4 * width)
        layers: list[nn.Module] = []
        for number, (before, after) in enumerate(pairwise(widths)):
            layers.append(nn.Conv2d(before, after, 4, stride=2, padding=2))
            layers += [nn.InstanceNorm2d(after, affine=True)] if number else []
            layers.append(nn.LeakyReLU(0.2))
        self.layers, self.last = nn.Sequential(*layers), nn.Linear(4 * width, 1)

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.last(self.layers(images).mean((2, 3))).squeeze(1)
        return scores


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        first, second = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        self.layers = nn.Sequential(*_normed(first, width), second, nn.InstanceNorm2d(width, affine=True))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.layers(x)
        return out


def _normed(layer: nn.Module, width: int) -> tuple[nn.Module, ...]:
    return layer, nn.InstanceNorm2d(width, affine=True), nn.ReLU()


@dataclass(frozen=True)
class NetworkSpec:
    """The architecture of a network whose weights are one vector (P,): `module(channels, width)`.

    Args:
        module: Generator or Discriminator.
        channels: of the images.
        width: filters of the first layer.
    """

    module: type[nn.Module]
    channels: int
    width: int

    def run(self, weights: Tensor, images: Tensor) -> Tensor:
        """Return the network's output for `images` (B, C, H, W) with these weights (P,)."""
        out: Tensor = functional_call(_skeleton(self), self.split(weights), (images,))
        return out

    def split(self, weights: Tensor) -> dict[str, Tensor]:
        """Return views of the vector, one per parameter, by name."""
        parameters = dict(_skeleton(self).named_parameters())
        parts = torch.split(weights, [parameter.numel() for parameter in parameters.values()])
        return {name: part.view(parameters[name].shape) for name, part in zip(parameters, parts, strict=True)}

    def join(self, named: Mapping[str, Tensor]) -> Tensor:
        """Return the vector of such named weights; ValueError where names or shapes are others."""
        wanted = {name: tuple(value.shape) for name, value in _skeleton(self).named_parameters()}
        if {name: tuple(value.shape) for name, value in named.items()} != wanted:
            raise ValueError(f"these are not the weights of a {self.module.__name__} of width {self.width}")
        return torch.cat([named[name].flatten() for name in wanted])

    def initial_weights(self, seed: int, like: Tensor) -> Tensor:
        """Draw weights (P,): uniform within 1 / sqrt(fan-in), norms at scale 1, biases 0, of the dtype of `like`."""
        key = Key(torch.zeros(1, dtype=torch.long), seed)
        parts: list[Tensor] = []
        for name, parameter in _skeleton(self).named_parameters():
            if parameter.ndim == 1:
                parts.append(torch.full((len(parameter),), float(name.endswith("weight"))))
                continue
            stream = f"{self.module.__name__} {name}"
            parts.append((2 * key.uniform(stream, (parameter.numel(),))[0] - 1) / parameter[0].numel() ** 0.5)
        return torch.cat(parts).to(like)


@cache
def _skeleton(spec: NetworkSpec) -> nn.Module:
    """The network without weights of its own."""
    with torch.device("meta"):
        return spec.module(spec.channels, spec.width)
