"""Score-based attacks: they see losses and margins, and no gradients."""

from .bandits import Bandits
from .nes import NES
from .simba import SimBA
from .spsa import SPSA
from .square import Square
from .zoo import ZOO

__all__ = ["NES", "SPSA", "ZOO", "Bandits", "SimBA", "Square"]
