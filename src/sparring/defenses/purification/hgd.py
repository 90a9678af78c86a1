"""The high-level representation guided denoiser (Liao et al. 2017, arXiv:1712.02976, section 4).

    x_hat = x* + D(x*)          min_D  E |f_l(x_hat) - f_l(x)|_1

over pairs of a clean image x and an adversarial x* of it. f_l are the target's logits (LGD), or any features of it
(FGD). D is a U-Net that gives what is to be added. The adversarial images are made once, against the bare target, as in
the paper: the denoiser never meets an attacker who knows of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...access import Attack
from ...engine import Engine, craft
from ...errors import ConfigError, InputError
from ...goals import Misclassify
from ...random import Key
from ...targets import Classifier
from ..fitting import EpochProgress, FitConfig, minimize_loss
from .checks import cast_to_weights, check_clean_images
from .denoiser import Denoiser


@dataclass(frozen=True, eq=False)
class HGD(Denoiser):
    """The denoiser D as a stage; `fit_hgd` trains it."""

    residual: bool = True


def fit_hgd(
    stage: Denoiser,
    target: Classifier,
    images: Tensor,
    labels: Tensor,
    attacks: Sequence[Attack[Any, Any]],
    *,
    features: Callable[[Tensor], Tensor] | None = None,
    config: FitConfig | None = None,
    progress: EpochProgress | None = None,
) -> tuple[float, ...]:
    """Train the stage's network in place, guided by the target, which is left as it was.

    Args:
        images, labels: (N, C, H, W) clean, in [0, 1], and their classes (N,).
        attacks: on the target, each of which gets its share of the images; several with different eps, as the paper
            has FGSM and iterated FGSM with eps 1 to 16 of 255. Half of each minibatch is left clean.
        features: f_l, from images to a tensor with one row per image; None: the target's logits.
        config: how; its seed is that of the attacks too.
        progress: called after every epoch with its number, their number and the mean loss.

    Returns:
        The mean loss of each epoch. The network ends in eval mode; the global random state is as it was.

    Raises: InputError, ConfigError, RunError.
    """
    config = config or FitConfig()
    check_clean_images("HGD", images)
    if labels.shape != (len(images),):
        raise InputError(f"HGD takes one label per image; got {tuple(labels.shape)} for {len(images)} images")
    if not attacks:
        raise ConfigError("HGD learns from adversarial images; pass at least one attack")
    adversarial = attack_images(target, images, labels, attacks, config)
    clean, moved = cast_to_weights(stage.module, images), cast_to_weights(stage.module, adversarial)
    guide: Callable[[Tensor], Tensor] = features or target

    def loss(rows: Tensor) -> Tensor:
        x = clean[rows]
        untouched = torch.rand(len(rows), 1, 1, 1, device=x.device) < 0.5
        with torch.no_grad():
            wanted = guide(x)
        gap = guide(stage.unclipped(torch.where(untouched, x, moved[rows]))) - wanted
        return gap.masked_fill(wanted.isneginf(), 0).abs().flatten(1).mean()  # -inf: a class that is never answered

    with target.frozen():
        return minimize_loss((stage.module,), len(images), loss, config, progress)


def attack_images(
    target: Classifier, images: Tensor, labels: Tensor, attacks: Sequence[Attack[Any, Any]], config: FitConfig
) -> Tensor:
    """Return every image attacked by one of the attacks, which the seed assigns."""
    key = Key(torch.arange(len(images), device=images.device), config.seed)
    dealt = key.integers("attack", (), len(attacks))
    moved = images.clone()
    engine = Engine(seed=config.seed)
    for number, attack in enumerate(attacks):
        for rows in (dealt == number).nonzero().squeeze(1).split(config.batch_size):  # type: ignore[no-untyped-call]
            moved[rows] = craft(
                attack, target, Misclassify(labels[rows]), images[rows], indices=rows.cpu(), engine=engine
            )
    return moved


class UNet(nn.Module):
    """A U-Net: images (B, C, H, W) -> what is to be added to them, of the same shape; 0 before it has learned.

    Each of `depth` levels halves the sides and doubles the filters, up to 4 times the first; on the way back, what is
    interpolated meets what was there on the way down. Blocks of two 3 x 3 convolutions with batch norm and ReLU, then a
    1 x 1 convolution. Sides that are no multiples of 2^depth are padded inside. The paper's, for 299 x 299, has 64
    filters, 4 levels and 20 convolutions.
    """

    def __init__(self, channels: int, width: int = 16, depth: int = 2) -> None:
        super().__init__()
        widths = [width * min(2**level, 4) for level in range(depth + 1)]
        self.down = nn.ModuleList(
            _block(before, after, 1 if level == 0 else 2)
            for level, (before, after) in enumerate(zip([channels, *widths[:-1]], widths, strict=True))
        )
        self.up = nn.ModuleList(
            _block(below + here, here, 1) for below, here in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.last = nn.Conv2d(width, channels, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[2:]
        unit = 2 ** len(self.up)
        x = nn.functional.pad(images, (0, -width % unit, 0, -height % unit), mode="replicate")
        beside = []
        for block in self.down:
            x = block(x)
            beside.append(x)
        for block, lateral in zip(self.up, beside[-2::-1], strict=True):
            wide = nn.functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = block(torch.cat((wide, lateral), 1))
        added: Tensor = self.last(x)[:, :, :height, :width]
        return added


def _block(before: int, after: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(),
        nn.Conv2d(after, after, 3, padding=1, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(),
    )
