"""Decision-based attacks: they see the predicted label and nothing else."""

from .boundary import Boundary
from .hopskipjump import HopSkipJump
from .surfree import SurFree

__all__ = ["Boundary", "HopSkipJump", "SurFree"]
