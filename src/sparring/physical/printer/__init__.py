"""Printers: an artifact as it is sent -> as it looks on paper."""

from .affine import AffinePrinter
from .gamut import GamutPrinter
from .measured import MeasuredPrinter, fit_printer
from .palette import PalettePrinter
from .printer import Printer

__all__ = ["AffinePrinter", "GamutPrinter", "MeasuredPrinter", "PalettePrinter", "Printer", "fit_printer"]
