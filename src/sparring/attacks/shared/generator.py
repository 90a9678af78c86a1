"""A net that moves each image within a ball in one forward pass, and the net it plays against.

The architectures of AdvGAN for digits (Xiao et al. 2018, arXiv:1801.02610, appendix), of width w = 8:

    G: c3s1-w, d2w, d4w, r4w x 4, u2w, uw, c3s1-C        D: c-w, c-2w, c-4w, FC

c3s1, d and u: a 3x3 convolution of stride 1, 2, 1/2 with instance norm and ReLU; r: a residual block; c: a 4x4
convolution of stride 2 with instance norm (not in the first) and leaky ReLU. Images whose sides are no multiples of 4
are padded inside. Departure: FC reads the mean over all places, so that D takes images of any size. Nothing in the
nets depends on the batch or on the mode: an image is moved alone as it is moved among others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from ...errors import InputError
from ...geometry import Ball
from ...random import Key
from .artifact import Artifact

LEAST_SIDE = 8  # instance norm needs more than one place, and two halvings are to come
MOST_CHANNELS, MOST_WIDTH = 64, 256  # of a file from elsewhere
BLOCKS = 4


class Generator(nn.Module):
    """Images (B, C, H, W) -> how each pixel would move (B, C, H, W), not yet bounded."""

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
        moves: Tensor = self.layers(padded)[:, :, :height, :width]
        return moves


class Discriminator(nn.Module):
    """Images (B, C, H, W) -> (B,): towards 1 for untouched ones, towards 0 for others. No label is read."""

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
        moved: Tensor = x + self.layers(x)
        return moved


def _normed(layer: nn.Module, width: int) -> tuple[nn.Module, ...]:
    return layer, nn.InstanceNorm2d(width, affine=True), nn.ReLU()


@dataclass(frozen=True)
class Plan:
    """The shape of a net whose weights are one vector: `net(channels, width)`."""

    net: type[nn.Module]
    channels: int
    width: int

    def run(self, weights: Tensor, images: Tensor) -> Tensor:
        """The net's answer to `images` with these weights."""
        answer: Tensor = functional_call(_skeleton(self), self.named(weights), (images,))
        return answer

    def named(self, weights: Tensor) -> dict[str, Tensor]:
        """Views of the vector, one per parameter."""
        parameters = dict(_skeleton(self).named_parameters())
        parts = torch.split(weights, [parameter.numel() for parameter in parameters.values()])
        return {name: part.view(parameters[name].shape) for name, part in zip(parameters, parts, strict=True)}

    def joined(self, named: Mapping[str, Tensor]) -> Tensor:
        """The vector of such named weights; ValueError where they are others."""
        wanted = {name: tuple(value.shape) for name, value in _skeleton(self).named_parameters()}
        if {name: tuple(value.shape) for name, value in named.items()} != wanted:
            raise ValueError(f"these are not the weights of a {self.net.__name__} of width {self.width}")
        return torch.cat([named[name].flatten() for name in wanted])

    def drawn(self, seed: int, like: Tensor) -> Tensor:
        """Fresh weights: uniform within 1 / sqrt(fan-in), norms at scale 1, biases 0."""
        key = Key(torch.zeros(1, dtype=torch.long), seed)
        parts: list[Tensor] = []
        for name, parameter in _skeleton(self).named_parameters():
            if parameter.ndim == 1:
                parts.append(torch.full((len(parameter),), float(name.endswith("weight"))))
                continue
            stream = f"{self.net.__name__} {name}"
            parts.append((2 * key.uniform(stream, (parameter.numel(),))[0] - 1) / parameter[0].numel() ** 0.5)
        return torch.cat(parts).to(like)


@cache
def _skeleton(plan: Plan) -> nn.Module:
    """The net without weights of its own."""
    with torch.device("meta"):
        return plan.net(plan.channels, plan.width)


def bounded(moves: Tensor, ball: Ball) -> Tensor:
    """The moves (B, C, H, W) brought into the ball: eps tanh(m) in Linf, eps m / sqrt(1 + |m|^2) in L2."""
    reach = max(0.0, ball.eps - torch.finfo(moves.dtype).eps)  # x + move is rounded, and must not leave the ball
    return replace(ball, eps=reach).squash(moves.nan_to_num())


@dataclass(frozen=True)
class Generated(Artifact):
    """x -> clip(x + bounded(G(x)), 0, 1), one forward pass of a generator; Linf or L2.

    Args:
        weights: (P,) of a `Generator(channels, width)`, one after the other.
    """

    weights: Tensor
    channels: int
    width: int
    ball: Ball

    kind: ClassVar[str] = "generator"

    @property
    def plan(self) -> Plan:
        return Plan(Generator, self.channels, self.width)

    @property
    def shape(self) -> tuple[int | None, ...]:
        return (self.channels, None, None)

    def check(self, x: Tensor) -> None:
        super().check(x)
        roomy(x)

    def moved(self, x: Tensor) -> Tensor:
        return moved(self.plan, self.weights.to(x), x, self.ball)

    def tensors(self) -> dict[str, Tensor]:
        return self.plan.named(self.weights)

    def settings(self) -> dict[str, Any]:
        return {"channels": self.channels, "width": self.width}

    @classmethod
    def rebuilt(cls, ball: Ball, tensors: dict[str, Tensor], settings: Mapping[str, Any]) -> Self:
        channels, width = settings["channels"], settings["width"]
        for value, most in ((channels, MOST_CHANNELS), (width, MOST_WIDTH)):
            if type(value) is not int or not 1 <= value <= most:
                raise ValueError(f"channels={channels!r}, width={width!r} of a generator")
        kinds = {value.dtype for value in tensors.values()}
        if len(kinds) != 1 or not kinds <= {torch.float32, torch.float64}:
            raise ValueError(f"weights of {kinds}")
        return cls(Plan(Generator, channels, width).joined(tensors), channels, width, ball)


def moved(plan: Plan, weights: Tensor, x: Tensor, ball: Ball) -> Tensor:
    """The images x (B, C, H, W), moved by the generator of these weights."""
    return (x + bounded(plan.run(weights, x), ball)).clamp(0, 1)


def roomy(x: Tensor) -> None:
    """InputError where the images are too small for the nets."""
    if min(x.shape[2:]) < LEAST_SIDE:
        raise InputError(f"a generator moves images of at least {LEAST_SIDE} x {LEAST_SIDE}, not {tuple(x.shape[2:])}")
