"""Attacks made of attacks."""

from .autoattack import autoattack
from .cascade import Cascade
from .restarts import Restarts
from .rivals import Rivals

__all__ = ["Cascade", "Restarts", "Rivals", "autoattack"]
