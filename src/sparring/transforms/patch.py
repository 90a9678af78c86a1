"""A patch pasted on images at a place drawn anew for each query (Brown et al. 2017, arXiv:1712.09665)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from ..inputs import Images, Inputs
from ..random import Key
from .scene import scene_images
from .transform import Transform


@dataclass(frozen=True)
class PlacePatch(Transform):
    """(B, C, h, w) in [0, 1] -> the images of the context with the patch at a random place.

    Where the context has boxes the patch lies within the box, as far as it fits, and else anywhere in the image.
    """

    @property
    def stochastic(self) -> bool:
        return True

    @property
    def inputs(self) -> Inputs | None:
        return Images()

    def apply(self, x: Tensor, key: Key, context: Any) -> tuple[Tensor, Any]:
        images = scene_images(context, self.name)
        height, width = images.shape[2:]
        down, right = x.shape[2:]
        if x.shape[1] != images.shape[1] or down > height or right > width:
            raise InputError(f"a patch {tuple(x.shape[1:])} does not fit on images {tuple(images.shape[1:])}")
        top, left = self._place(key, context, images, down, right)
        rows = torch.arange(height, device=x.device) - top[:, None]
        columns = torch.arange(width, device=x.device) - left[:, None]
        within = ((rows >= 0) & (rows < down))[:, :, None] & ((columns >= 0) & (columns < right))[:, None]
        index = rows.clamp(0, down - 1)[:, :, None] * right + columns.clamp(0, right - 1)[:, None]
        spread = x.flatten(2).gather(2, index.flatten(1)[:, None].expand(-1, x.shape[1], -1)).view_as(images)
        return torch.where(within[:, None], spread, images), context

    @staticmethod
    def _place(key: Key, context: Any, images: Tensor, down: int, right: int) -> tuple[Tensor, Tensor]:
        """The first row and column of the patch, (B,) int64 each."""
        size = torch.tensor([down, right], device=images.device)
        most = torch.tensor(images.shape[2:], device=images.device) - size
        low, high = torch.zeros_like(most).expand(len(images), 2), most.expand(len(images), 2)
        boxes = getattr(context, "boxes", None)
        if boxes is not None:
            corner, end = boxes[:, [1, 0]].to(images.device), boxes[:, [3, 2]].to(images.device)
            low = torch.minimum(corner.ceil().long().clamp_min(0), most)
            high = torch.maximum(torch.minimum(end.floor().long() - size, most), low)
        top, left = (low + key.integers("place", (2,), high - low + 1)).unbind(1)
        return top, left
