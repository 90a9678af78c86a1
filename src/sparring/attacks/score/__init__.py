"""Attacks on scores: queries, no gradients."""

from .square import Square

__all__ = ["Square"]
