"""Norm balls: norm, steepest direction, exact projection onto ball and valid range, uniform sampling."""

from .ball import Ball, rowwise, tiny
from .l0 import L0
from .l1 import L1
from .l2 import L2, unit
from .linf import Linf
from .region import Region
from .union import Union

__all__ = ["L0", "L1", "L2", "Ball", "Linf", "Region", "Union", "rowwise", "tiny", "unit"]
