"""The goal of attacks on semantic segmentation: many pixels get a wrong class."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Self

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from ..errors import GoalError, InputError
from ..shapes import BoolSites, FloatPerRow, IntSites
from ..tasks import Segmentation, Task
from .climbs import Climb, MaskedCrossEntropy
from .share import ShareGoal, check_share
from .terms import Terms

PixelLabels = Integer[Tensor, "batch height width"]
PixelLogits = Float[Tensor, "batch classes height width"]


@dataclass(frozen=True)
class MisclassifyPixels(ShareGoal):
    """The goal that at least `share` of an image's labelled pixels get another class than their label.

    Args:
        labels: (B, H, W) int64, the class of each pixel; `ignore` where there is none.
        share: of the labelled pixels that must be wrong, in (0, 1].
        ignore: the label of pixels that do not count, 255 in most data sets.
        loss: what attacks ascend that name no loss of their own, in the mean over the labelled pixels: the
            cross-entropy, in which those that are wrong weigh as much as the others.
        margin_in: "logits": the margin is that of the pixel that completes the share. "parts": by how many pixels more
            than needed are wrong, plus a half, as a share of the labelled ones; with `Keep.HIGHEST_MARGIN` the example
            of the lowest pixel accuracy is kept. It has no gradient: attacks that follow margins need "logits".
    """

    labels: PixelLabels
    share: float = 0.5
    ignore: int = 255
    loss: Climb = field(default_factory=lambda: MaskedCrossEntropy(won_weight=0.5, spread_share=1.0))
    margin_in: str = "logits"

    task: ClassVar[type[Task] | None] = Segmentation

    @property
    def graded(self) -> bool:  # type: ignore[override]
        """Whether an audit keeps of every image the example of the lowest pixel accuracy: with `margin_in="parts"`."""
        return self.margin_in == "parts"

    def __len__(self) -> int:
        return len(self.labels)

    def parts(self, outputs: PixelLogits) -> tuple[Terms, BoolSites]:
        """Return z_k - z_y of every pixel, values (B * H * W, K), and which pixels are labelled, (B, H * W) bool."""
        counted = (self.labels != self.ignore).flatten(1)
        logits = outputs.movedim(1, -1).flatten(0, -2)
        index = self.labels.masked_fill(self.labels == self.ignore, 0).flatten()[:, None]
        return Terms(
            (logits - logits.gather(1, index)).scatter(1, index, -torch.inf), count=logits.shape[1] - 1
        ), counted

    def groups(self) -> IntSites:
        """Return the labels (B, H * W), 0 where there is none."""
        return self.labels.masked_fill(self.labels == self.ignore, 0).flatten(1)

    def pixel_accuracy(self, outputs: PixelLogits) -> FloatPerRow:
        """Return the share (B,) of the labelled pixels whose class is right."""
        return 1 - self.won_share(outputs)

    def check(self, outputs: PixelLogits, all_rows: Self) -> None:
        """Raise GoalError for a share outside (0, 1] or a single logit, InputError for labels that do not fit."""
        if not check_share(self.share):
            raise GoalError(f"share={self.share} of the pixels; pass a number above 0 and at most 1")
        if self.margin_in not in ("logits", "parts"):
            raise GoalError(f"margin_in={self.margin_in!r:.80}; pass 'logits' or 'parts'")
        labels, count = all_rows.labels, outputs.shape[1]
        if count < 2:
            raise GoalError(f"the model gives {count} logit per pixel, which no class can lose to; return two")
        if labels.dtype != torch.int64 or labels.shape[1:] != outputs.shape[2:]:
            raise InputError(
                f"labels are {labels.dtype} {tuple(labels.shape)}, and the model's pixels {tuple(outputs.shape[2:])}; "
                "pass int64 (images, height, width) of that size"
            )
        known = labels != self.ignore
        if not bool((((labels >= 0) & (labels < count)) | ~known).all()):
            raise InputError(f"a label lies outside the model's {count} classes (0 to {count - 1}, or {self.ignore})")
        if not bool(known.flatten(1).any(1).all()):
            row = int((~known.flatten(1).any(1)).nonzero()[0])
            raise InputError(f"labels[{row}] has no labelled pixel; leave that image out")
