"""Average precision of detections, as COCO and PASCAL VOC compute it.

Detections of a class are taken in the order of their scores, over all images. Each is matched with the object of its
image and class that it overlaps most, if by `iou` at least and if no surer detection has it; else it is a false
positive. With precision p(r) made monotone from the right, p(r) = max_{r' >= r} p(r'):

    coco      mean of p over the recalls 0, 0.01, ..., 1        (Lin et al. 2014, arXiv:1405.0312; COCOeval)
    voc       area under p                                      (PASCAL VOC from 2010)
    voc2007   mean of p over the recalls 0, 0.1, ..., 1         (Everingham et al. 2010)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..errors import ConfigError, InputError
from .boxes import box_areas, box_iou
from .objects import Objects

Interpolation = Literal["coco", "voc", "voc2007"]
COCO_THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
POINTS = {"coco": (101, 0.01), "voc2007": (11, 0.1)}


@dataclass(frozen=True)
class AveragePrecision:
    """Average precisions of the classes that the annotations hold.

    Args:
        classes: (C,) int64, the classes.
        objects: (C,) int64, how many objects of each are annotated.
        iou_thresholds: of the T columns.
        values: (C, T) float64, in [0, 1].
    """

    classes: Tensor
    objects: Tensor
    iou_thresholds: tuple[float, ...]
    values: Tensor

    @property
    def mean(self) -> float:
        """The mean over classes and thresholds: with `COCO_THRESHOLDS` COCO's mAP; NaN without annotated objects."""
        return float(self.values.mean()) if self.values.numel() else float("nan")

    def at(self, iou_threshold: float) -> float:
        """Return the mean over classes at one of the thresholds: at 0.5 COCO's AP50."""
        if iou_threshold not in self.iou_thresholds:
            raise ConfigError(f"iou_threshold={iou_threshold} was not computed: {self.iou_thresholds}")
        column = self.values[:, self.iou_thresholds.index(iou_threshold)]
        return float(column.mean()) if len(column) else float("nan")

    def of_class(self, number: int) -> float:
        """Return the mean over thresholds of one class; NaN where no object of it is annotated."""
        row = self.values[self.classes == number]
        return float(row.mean()) if len(row) else float("nan")


def average_precision(
    found: Objects,
    truth: Objects,
    iou_thresholds: Sequence[float] = COCO_THRESHOLDS,
    interpolation: Interpolation = "coco",
) -> AveragePrecision:
    """Return the average precision of `found` against `truth`, row by row of the same B images.

    Args:
        found: a detector's answer, with scores; COCO's own evaluation reads the 100 surest of each image.
        truth: annotations. Where they are `crowd`, neither they nor detections on them count.
        iou_thresholds: the overlaps that make a match.
        interpolation: "coco", "voc" or "voc2007".

    Raises: InputError for answers without scores or of other images, ConfigError for settings.
    """
    if found.scores is None:
        raise InputError("average precision needs the scores of what was found; pass a detector's answer")
    if len(found.boxes) != len(truth.boxes):
        raise InputError(f"the answer is about {len(found.boxes)} images, and {len(truth.boxes)} are annotated")
    if interpolation not in ("coco", "voc", "voc2007"):
        raise ConfigError(f"interpolation={interpolation!r:.40}; pass coco, voc or voc2007")
    levels = tuple(float(one) for one in iou_thresholds)
    if not levels or not all(0 < one <= 1 for one in levels):
        raise ConfigError(f"iou_thresholds={levels}; pass numbers above 0 and at most 1")
    counted = truth.present if truth.crowd is None else truth.present & ~truth.crowd
    classes = torch.unique(truth.classes[counted])
    rows, counts = [], []
    for number in classes.tolist():
        objects = counted & (truth.classes == number)
        counts.append(int(objects.sum()))
        rows.append(_of_class(found, truth, number, objects, levels, interpolation))
    values = torch.stack(rows) if rows else torch.zeros(0, len(levels), dtype=torch.float64)
    return AveragePrecision(classes, torch.tensor(counts, dtype=torch.long), levels, values)


def _of_class(
    found: Objects,
    truth: Objects,
    number: int,
    objects: Tensor,
    levels: tuple[float, ...],
    interpolation: Interpolation,
) -> Tensor:
    """Return the average precision (T,) of one class."""
    assert found.scores is not None
    wanted = found.present & (found.classes == number)
    scores = found.scores.double().masked_fill(~wanted, -1.0)
    order = scores.argsort(dim=1, descending=True, stable=True)[:, : max(int(wanted.sum(1).max()), 1)]
    scores, wanted = scores.gather(1, order), wanted.gather(1, order)
    boxes = found.boxes.double().gather(1, order[:, :, None].expand(-1, -1, 4))
    crowd = None if truth.crowd is None else truth.present & truth.crowd & (truth.classes == number)
    true, ignored = _matched(boxes, wanted, truth.boxes.double(), objects, crowd, levels)
    flat = scores.flatten().argsort(descending=True, stable=True)
    return torch.stack(
        [
            _area(
                true[level].flatten()[flat],
                (wanted & ~ignored[level]).flatten()[flat],
                int(objects.sum()),
                interpolation,
            )
            for level in range(len(levels))
        ]
    )


def _matched(
    boxes: Tensor, wanted: Tensor, truth: Tensor, objects: Tensor, crowd: Tensor | None, levels: tuple[float, ...]
) -> tuple[Tensor, Tensor]:
    """Return which detections (B, D), surest first, match an object, and which lie on a crowd, (T, B, D) bool each."""
    thresholds = torch.tensor(levels, dtype=torch.float64).clamp_max(1 - 1e-10)[:, None]
    overlaps = box_iou(boxes, truth).masked_fill(~objects[:, None], -1.0)
    free = objects.expand(len(levels), -1, -1).clone()
    true = torch.zeros(len(levels), *wanted.shape, dtype=torch.bool)
    places = torch.arange(truth.shape[1])
    for rank in range(boxes.shape[1]):
        best, place = overlaps[:, rank].masked_fill(~free, -1.0).flip(2).max(2)  # of equal overlaps the last, as COCO
        hit = (best >= thresholds) & wanted[:, rank]
        true[:, :, rank] = hit
        free &= ~(hit[:, :, None] & (places == truth.shape[1] - 1 - place[:, :, None]))
    if crowd is None:
        return true, torch.zeros_like(true)
    low, high = (
        pick(boxes[:, :, None, part], truth[:, None, :, part])
        for pick, part in ((torch.maximum, slice(0, 2)), (torch.minimum, slice(2, 4)))
    )
    within = (high - low).clamp_min(0).prod(3) / box_areas(boxes)[:, :, None].clamp_min(1e-300)
    on_crowd = within.masked_fill(~crowd[:, None], -1.0).amax(2)
    return true, (on_crowd >= thresholds[:, :, None]) & ~true


def _area(true: Tensor, counted: Tensor, objects: int, interpolation: Interpolation) -> Tensor:
    """Return the average precision of detections in the order of their scores."""
    hits, false = (true & counted).cumsum(0).double(), (~true & counted).cumsum(0).double()
    hits, false = hits[counted], false[counted]
    if not len(hits):
        return torch.zeros((), dtype=torch.float64)
    recall, precision = hits / objects, hits / (hits + false)
    precision = precision.flip(0).cummax(0).values.flip(0)
    if interpolation == "voc":
        return (recall.diff(prepend=recall.new_zeros(1)) * precision).sum()
    count, step = POINTS[interpolation]
    points = (torch.arange(count, dtype=torch.float64) * step).clamp_max(1.0)  # rounded as in COCOeval
    place = torch.searchsorted(recall, points)
    return torch.cat((precision, precision.new_zeros(1)))[place].mean()
