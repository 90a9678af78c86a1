"""Attacks made of attacks."""

from .auto import auto
from .autoattack import autoattack
from .cascade import Cascade
from .restarts import Restarts
from .rivals import Rivals
from .sweep import Sweep

__all__ = ["Cascade", "Restarts", "Rivals", "Sweep", "auto", "autoattack"]
