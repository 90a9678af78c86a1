"""Printers: an artifact as it is sent -> as it looks on paper."""

from .affine import AffinePrinter
from .gamut import GamutPrinter
from .printer import Printer

__all__ = ["AffinePrinter", "GamutPrinter", "Printer"]
