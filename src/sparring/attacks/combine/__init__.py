"""Attacks made of attacks."""

from .autoattack import autoattack
from .cascade import Cascade
from .restarts import Restarts
from .rivals import Rivals
from .sweep import Sweep, auto

__all__ = ["Cascade", "Restarts", "Rivals", "Sweep", "auto", "autoattack"]
