"""`Objects`: what is in images, as annotated, or as a detector answers after non-maximum suppression."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Objects:
    """Up to M objects in each of B images.

    Args:
        boxes: (B, M, 4) as x1, y1, x2, y2 in pixels of the image.
        classes: (B, M) int64, positions among the detector's classes.
        present: (B, M) bool: False where an entry only fills the row up.
        scores: (B, M) in [0, 1], of a detector's answer; None for annotations.
        crowd: (B, M) bool, annotations of groups, which metrics neither expect nor count as wrong; None: none is one.
        source: where they come from, as reports say it: "annotations", or "detections" of the detector itself.
    """

    boxes: Tensor
    classes: Tensor
    present: Tensor
    scores: Tensor | None = None
    crowd: Tensor | None = None
    source: str = "annotations"

    def of_class(self, *classes: int) -> Objects:
        """Return the same objects, of which only those of these classes are present."""
        wanted = torch.isin(self.classes, torch.tensor(classes, device=self.classes.device))
        return replace(self, present=self.present & wanted)

    def counts(self) -> Tensor:
        """Return how many objects there are in each image, (B,) int64."""
        return self.present.sum(1)


def objects_of(
    boxes: list[Tensor], classes: list[Tensor], scores: list[Tensor] | None = None, source: str = "annotations"
) -> Objects:
    """Return the objects of images that are given one by one: boxes (n, 4), classes (n,) and scores (n,) of each.

    Rows are filled up to the largest n, and to one at least.
    """
    most = max([1, *map(len, boxes)])

    def filled(rows: list[Tensor], value: float) -> Tensor:
        return torch.stack(
            [torch.cat((row, row.new_full((most - len(row), *row.shape[1:]), value)))[:most] for row in rows]
        )

    counts = torch.tensor([len(row) for row in boxes], device=boxes[0].device)
    present = torch.arange(most, device=boxes[0].device) < counts[:, None]
    beside = None if scores is None else filled(scores, 0.0)
    return Objects(filled(boxes, 0.0), filled(classes, 0), present, beside, source=source)
