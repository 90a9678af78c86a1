"""Printers: an artifact as it is sent -> as it looks on paper."""

from .affine import AffinePrinter
from .printer import Printer

__all__ = ["AffinePrinter", "Printer"]
