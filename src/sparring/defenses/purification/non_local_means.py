"""Non-local means (Buades, Coll & Morel 2005, CVPR; as a defence Xu, Evans & Qi 2017, arXiv:1704.01155, section 3.2).

    y_i = sum_j w_ij x_j / sum_j w_ij          w_ij = exp(-d_ij / h^2)

over all j within the search window around i, where d_ij is the mean squared difference of the patches around i and j,
over pixels and channels. Edges are mirrored. Departures from OpenCV's, which the paper used: color is not turned into
Lab, and the weights are not rounded.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ...errors import ConfigError
from ...random import Key
from ...transforms import Stage
from ..parameters import check_number, check_whole
from .padding import mirror_pad


@dataclass(frozen=True)
class NonLocalMeans(Stage):
    """Replace each pixel by the mean of those around it with similar patches; images (B, C, H, W), differentiable.

    Args:
        search_window: width of the search window, odd, at most 255; 11 in Xu et al.
        patch_size: width of the patches compared, likewise; 3 in Xu et al.
        h: in units of pixels; 4 / 255 in Xu et al.

    Raises: ConfigError.
    """

    search_window: int = 11
    patch_size: int = 3
    h: float = 4 / 255

    def __post_init__(self) -> None:
        check_whole(self, "search_window", self.search_window, 1, 255)
        check_whole(self, "patch_size", self.patch_size, 1, 255)
        check_number(self, "h", self.h, 0, above=True)
        if self.search_window % 2 == 0 or self.patch_size % 2 == 0:
            raise ConfigError(
                f"NonLocalMeans search_window={self.search_window}, patch_size={self.patch_size}; pass odd widths"
            )

    def __call__(self, images: Tensor, key: Key) -> Tensor:
        reach = self.search_window // 2 + self.patch_size // 2
        wide = mirror_pad(images, reach, reach)
        total, weight = torch.zeros_like(images), torch.zeros_like(images[:, :1])
        for down in range(self.search_window):
            if torch.is_grad_enabled() and images.requires_grad:  # one row of the window in memory at a time
                more = checkpoint(self._row, wide, down, use_reentrant=False, preserve_rng_state=False)
            else:
                more = self._row(wide, down)
            total, weight = total + more[0], weight + more[1]
        return total / weight

    def _row(self, wide: Tensor, down: int) -> tuple[Tensor, Tensor]:
        """Sums of w x and of w over one row of the search window."""
        half, rim = self.search_window // 2, self.patch_size // 2
        height, width = (side - 2 * half for side in wide.shape[2:])
        middle = wide[:, :, half : half + height, half : half + width]
        total = weight = wide.new_zeros(())
        for right in range(self.search_window):
            there = wide[:, :, down : down + height, right : right + width]
            difference = (there - middle).square().mean(1, keepdim=True)
            similar = (-F.avg_pool2d(difference, self.patch_size, 1) / self.h**2).exp()
            inner = there[:, :, rim : height - rim, rim : width - rim]
            total, weight = total + similar * inner, weight + similar
        return total, weight
