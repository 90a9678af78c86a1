"""The head of DETR and of its descendants with a softmax."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from ...detection_metrics import corners_of
from ...tasks import Detections
from .head import Head, all_present, log_odds


class DETRHead(Head):
    """Logits (B, N, K + 1), the last of "no object", and boxes (B, N, 4) as middle and size in shares of the input.

    Read from "pred_logits" (or "logits", as Hugging Face has it) and "pred_boxes", of a dictionary or of attributes.
    The logit of a class is that of its softmax, z_k - log sum_{j != k} exp z_j. There is no suppression: each object
    has one query.

    Args:
        sigmoid: each of K classes has a sigmoid of its own, without "no object" (Deformable DETR, RT-DETR).

    Sources: Carion et al. 2020, arXiv:2005.12872, section 3.1; Zhu et al. 2021, arXiv:2010.04159.
    """

    name: ClassVar[str] = "DETR (without objectness)"
    suppression: ClassVar[Mapping[str, Any]] = {"iou_threshold": 0.999}

    def __init__(self, sigmoid: bool = False) -> None:
        super().__init__()
        self.sigmoid = sigmoid

    def forward(self, raw: Any, size: tuple[int, int]) -> Detections:
        def held(*names: str) -> Any:
            found = [raw.get(name) if isinstance(raw, Mapping) else getattr(raw, name, None) for name in names]
            return next((one for one in found if one is not None), None)

        logits, boxes = held("pred_logits", "logits"), held("pred_boxes")
        wanted = "pred_logits (B, N, K + 1) and pred_boxes (B, N, 4)"
        if not isinstance(logits, Tensor) or not isinstance(boxes, Tensor) or logits.ndim != 3:
            raise self.wrong(raw, wanted)
        if boxes.shape != (*logits.shape[:2], 4) or logits.shape[2] < (1 if self.sigmoid else 2):
            raise self.wrong(raw, wanted)
        corners = corners_of(boxes) * boxes.new_tensor([size[1], size[0], size[1], size[0]])
        kinds = logits if self.sigmoid else log_odds(logits)[..., :-1]
        return Detections(corners, kinds, all_present(corners))
