"""Attacks on decisions: labels alone."""

from .hopskipjump import HopSkipJump

__all__ = ["HopSkipJump"]
