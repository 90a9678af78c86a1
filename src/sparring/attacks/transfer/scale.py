"""Scale invariance (Lin et al. 2020, arXiv:1908.06281, section 3.2): the mean gradient over darker copies.

g = 1/m sum_{i=0}^{m-1} grad_x L( x / 2^i )
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ...access import Gradient, PositiveInt
from ...geometry import rowwise
from .copies import average_over_copies
from .technique import GradientFunction, GradientQuery, TransferTechnique, gradient_through


@dataclass(frozen=True)
class ScaleInvariance(TransferTechnique):
    """Average the gradient over copies of the image, each half as bright as the one before (SI).

    Args:
        m: the number of copies, each a pass per gradient (5 in the paper).
    """

    m: PositiveInt = 5

    abbreviation: ClassVar[str] = "SI"
    uses_copies: ClassVar[bool] = True

    def __call__(self, gradient: GradientFunction, query: GradientQuery) -> Gradient:
        def darker(copies: GradientQuery, number: Tensor) -> Gradient:
            scale = rowwise(0.5**number, copies.images).to(copies.images.dtype)
            return gradient_through(gradient, copies, lambda images: images * scale)

        return average_over_copies(darker, query, self.m)
