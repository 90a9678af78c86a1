"""Fewer levels per channel (Xu, Evans & Qi 2017, arXiv:1704.01155, section 3.1; Guo et al. 2017, arXiv:1711.00117).

x -> round(x (2^bits - 1)) / (2^bits - 1)
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ...random import Key
from ...transforms import Stage
from ..parameters import check_whole


@dataclass(frozen=True)
class BitDepth(Stage):
    """Round images (B, C, H, W) to 2^bits levels; BPDA with the identity, since the gradient is 0 almost everywhere.

    Args:
        bits: 1 to 8. Guo et al. take 3 for photographs, Xu et al. 1 for digits and 4 or 5 for color.

    Raises: ConfigError.
    """

    bits: int = 3

    def __post_init__(self) -> None:
        check_whole(self, "bits", self.bits, 1, 8)

    @property
    def differentiable(self) -> bool:
        return False

    def __call__(self, images: Tensor, key: Key) -> Tensor:
        levels = 2**self.bits - 1
        return images.mul(levels).round().div(levels)
