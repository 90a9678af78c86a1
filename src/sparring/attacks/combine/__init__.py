"""Attacks that run other attacks: restarts, rival classes, sequences, AutoAttack."""

from .auto import Auto
from .autoattack import AutoAttack
from .cascade import Cascade
from .restarts import Restarts
from .rivals import Rivals
from .sea import SEA
from .sweep import Sweep

__all__ = ["SEA", "Auto", "AutoAttack", "Cascade", "Restarts", "Rivals", "Sweep"]
