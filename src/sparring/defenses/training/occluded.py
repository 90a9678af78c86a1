"""Training on images that are partly hidden, for the certified defences against patches.

J(w, a(x)),     a(x) an ablation at a random place (Levine & Feizi 2020, arXiv:2002.10733, section 3)
J(w, m(x)),     m(x) two masks at random (as PatchCleanser has: Xiang et al. 2022, arXiv:2108.09135)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...targets import Classifier
from ..certification.patches import (
    Ablation,
    DerandomizedSmoothing,
    PatchCleanser,
    check_patch,
    covering_masks,
)
from .minibatch import Minibatch, Net
from .objective import Certifier, Objective, check_field, cross_entropy


@dataclass(frozen=True)
class AblatedTraining(Objective):
    """Train on ablations at random places, which `DerandomizedSmoothing` with the same parameters asks about.

    Args:
        size, ablation, fill: as in `DerandomizedSmoothing`. With fill=None, in Python, the net takes 2 C channels.
        patch: side of the patch, in pixels, for which epochs are judged: the best has the largest certified accuracy.

    Raises: ConfigError.
    """

    size: int
    patch: int
    ablation: str = "columns"
    fill: float | None = 0.5

    def __post_init__(self) -> None:
        Ablation(self.size, self.ablation, self.fill)
        check_patch(self.patch)

    def certifier(self, target: Classifier, images: Tensor) -> Certifier:
        defence = DerandomizedSmoothing(target, self.size, ablation=self.ablation, fill=self.fill)
        return lambda images, labels: defence.certify(images, self.patch).certified_for(labels)

    @property
    def attacks(self) -> tuple[int, int]:
        return 0, 0

    def losses(self, net: Net, batch: Minibatch, examples: tuple[Tensor, ...]) -> Tensor:
        ablation = Ablation(self.size, self.ablation, self.fill)
        kept = ablation.kept(batch.images)
        place = batch.key.integers("place", (1,), len(kept)).squeeze(1)
        return cross_entropy(net(ablation.apply(batch.images, kept[place][:, None])), batch.labels)


@dataclass(frozen=True)
class MaskedTraining(Objective):
    """Train on images under two random masks, which `PatchCleanser` with the same parameters asks about.

    Args:
        patch: side of the largest patch, in pixels. The best epoch has the largest certified accuracy.
        masks_per_axis, fill: as in `PatchCleanser`.

    Raises: ConfigError.
    """

    patch: int
    masks_per_axis: int = 6
    fill: float = 0.5

    def __post_init__(self) -> None:
        for word in ("patch", "masks_per_axis"):
            value = getattr(self, word)
            check_field(self, word, type(value) is int and value >= 1, "a whole number from 1")
        check_field(self, "fill", 0 <= self.fill <= 1, "a value of pixels, in [0, 1]")

    def certifier(self, target: Classifier, images: Tensor) -> Certifier:
        defence = PatchCleanser(target, self.patch, masks_per_axis=self.masks_per_axis, fill=self.fill)
        return lambda images, labels: defence.certify(images).certified_for(labels)

    @property
    def attacks(self) -> tuple[int, int]:
        return 0, 0

    def losses(self, net: Net, batch: Minibatch, examples: tuple[Tensor, ...]) -> Tensor:
        height, width = batch.images.shape[2:]
        masks = covering_masks(height, width, (self.patch, self.patch), self.masks_per_axis).to(batch.images.device)
        pair = masks[batch.key.integers("masks", (2,), len(masks))].any(1)
        return cross_entropy(net(torch.where(pair[:, None], self.fill, batch.images)), batch.labels)
