"""Attacks made of attacks."""

from .restarts import Restarts

__all__ = ["Restarts"]
