"""Networks that answer with lists of objects after their own suppression: torchvision's signature."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ...errors import ConfigError
from ...tasks import Detections
from .head import Head

ABSENT = -50.0  # the logit of the classes that an object was not found as


class ListHead(Head):
    """For each image a dictionary of "boxes" (n, 4) in pixels, "labels" (n,) and "scores" (n,): `anchors` of them.

    So answer torchvision's Faster R-CNN, RetinaNet, SSD and FCOS in eval mode, after their own threshold and
    suppression. What those drop has no gradient, so that an object that is gone cannot be kept away: during a pass
    `open_suppression` sets the thresholds of the network, or of its `roi_heads`, so that candidates come through
    (`score_thresh`, `nms_thresh`, `detections_per_img`), and puts them back. The score of a candidate is known for its
    label alone; that of other classes counts as 0.

    Args:
        classes: K, the labels being 0 to K - 1 (torchvision's COCO models: 91).
        anchors: N, the objects per image that are kept, the surest.
        open_suppression: let candidates pass the network's own suppression.
        candidate_threshold: the score from which they pass.
    """

    name: ClassVar[str] = "list of objects (torchvision's signature)"

    def __init__(
        self, classes: int = 91, anchors: int = 1000, open_suppression: bool = True, candidate_threshold: float = 0.01
    ) -> None:
        super().__init__()
        if classes < 1 or anchors < 1 or not 0 <= candidate_threshold < 1:
            raise ConfigError(f"ListHead({classes}, {anchors}, candidate_threshold={candidate_threshold}) has no sense")
        self.classes, self.anchors = classes, anchors
        self.open_suppression, self.candidate_threshold = open_suppression, candidate_threshold

    def loosened(self, network: nn.Module) -> list[tuple[Any, str, Any]]:
        """Return the attributes of the network that are changed while it is asked: (object, name, value)."""
        if not self.open_suppression:
            return []
        holder: Any = getattr(network, "roi_heads", network)
        wanted = {"score_thresh": self.candidate_threshold, "nms_thresh": 1.0, "detections_per_img": self.anchors}
        return [(holder, name, value) for name, value in wanted.items() if hasattr(holder, name)]

    def forward(self, raw: Any, size: tuple[int, int]) -> Detections:
        wanted = "a list with a dict of boxes, labels and scores for each image (eval mode)"
        keys = ("boxes", "labels", "scores")
        if not isinstance(raw, list | tuple) or not raw:
            raise self.wrong(raw, wanted)
        if not all(isinstance(one, Mapping) and all(isinstance(one.get(key), Tensor) for key in keys) for one in raw):
            raise self.wrong(raw, wanted)
        rows = [self._row(one["boxes"], one["labels"], one["scores"]) for one in raw]
        boxes, logits, present = (torch.stack(parts) for parts in zip(*rows, strict=True))
        return Detections(boxes, logits, present)

    def _row(self, boxes: Tensor, labels: Tensor, scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return boxes (N, 4), logits (N, K) and present (N,) of one image."""
        chosen = scores.detach().argsort(descending=True, stable=True)[: self.anchors]
        count, missing = len(chosen), self.anchors - len(chosen)
        if count and not 0 <= int(labels.min()) <= int(labels.max()) < self.classes:
            raise self.wrong(labels, f"labels from 0 to {self.classes - 1} (classes={self.classes})")
        odds = scores[chosen].logit(torch.finfo(scores.dtype).tiny)
        odds = odds.clamp(ABSENT + 1, -ABSENT)
        logits = scores.new_full((count, self.classes), ABSENT).scatter(1, labels[chosen][:, None], odds[:, None])
        present = torch.arange(self.anchors, device=boxes.device) < count
        filled = torch.cat((boxes[chosen], boxes.new_zeros(missing, 4)))
        return filled, torch.cat((logits, logits.new_full((missing, self.classes), ABSENT))), present
