"""`RandomShift`: each image shifted by a few whole pixels, as by a moving camera."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..errors import ConfigError, InputError
from ..random import Key
from ..tasks import Classification, Detection, Detections, Segmentation, Task, Verification
from .scene import moved
from .transform import Transform


@dataclass(frozen=True)
class RandomShift(Transform):
    """Images (B, C, H, W), each shifted by up to `max_pixels` each way; what leaves is lost, the border is repeated.

    Boxes and landmarks of the context move along, and the boxes and the maps of classes that a model answers are
    brought back into the frame of the image that went in.
    """

    max_pixels: int = 2

    def __post_init__(self) -> None:
        if not isinstance(self.max_pixels, int) or self.max_pixels < 1:
            raise ConfigError(f"RandomShift max_pixels={self.max_pixels!r}; pass an int >= 1")

    @property
    def stochastic(self) -> bool:
        return True

    @property
    def tasks(self) -> tuple[type[Task], ...] | None:
        return Classification, Verification, Detection, Segmentation

    def apply(self, x: Tensor, key: Key, context: Any) -> tuple[Tensor, Any]:
        if x.ndim != 4:
            raise InputError(f"{self.name} moves images (N, C, H, W); got {tuple(x.shape)}")
        by = self._shift(key)
        return shifted(x, by), moved(context, torch.ones_like(by), by[:, [1, 0]])

    def restore(self, outputs: Any, key: Key, context: Any) -> Any:
        by = self._shift(key)
        if isinstance(outputs, Detections):
            return replace(outputs, boxes=outputs.boxes - by[:, None, [1, 0, 1, 0]].to(outputs.boxes))
        return shifted(outputs, -by) if isinstance(outputs, Tensor) and outputs.ndim == 4 else outputs

    def _shift(self, key: Key) -> Tensor:
        """The shift of each row, (B, 2) int64: down and right."""
        return key.integers("shift", (2,), 2 * self.max_pixels + 1) - self.max_pixels


def shifted(x: Tensor, by: Tensor) -> Tensor:
    """Return x (B, C, H, W) moved down and right by `by` (B, 2) int64 pixels, the border repeated."""
    height, width = x.shape[2:]
    rows = (torch.arange(height, device=x.device) - by[:, :1]).clamp(0, height - 1)
    columns = (torch.arange(width, device=x.device) - by[:, 1:]).clamp(0, width - 1)
    index = (rows[:, :, None] * width + columns[:, None]).flatten(1)[:, None].expand(-1, x.shape[1], -1)
    return x.flatten(2).gather(2, index).view_as(x)
