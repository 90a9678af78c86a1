"""The physical chain: an artifact is printed, placed in a scene, and captured by a camera."""

from .camera import (
    AutoBalance,
    BayerMosaic,
    Camera,
    DifferentiableJPEG,
    Exposure,
    GaussianBlur,
    GaussianNoise,
    Illumination,
    Lens,
    LibJPEG,
    Resize,
    Sensor,
    ToneCurve,
)
from .chain import ChainParameters, PhysicalChain, check_held_out, shared_mechanisms
from .families import held_out_family, optimization_family
from .placement import (
    Anchor,
    BoxAnchor,
    Cylinder,
    Homography,
    LandmarkAnchor,
    Parabola,
    Placement,
    Planar,
    QuadAnchor,
    ThinPlate,
)
from .printer import AffinePrinter, GamutPrinter, MeasuredPrinter, PalettePrinter, Printer, fit_printer
from .regularizers import ContentDistance, NonPrintability, OutOfGamut, TotalVariation
from .stage import PhysicalStage, SampledTransform

__all__ = [
    "AffinePrinter", "Anchor", "AutoBalance", "BayerMosaic", "BoxAnchor", "Camera", "ChainParameters",
    "ContentDistance", "Cylinder", "DifferentiableJPEG", "Exposure", "GamutPrinter", "GaussianBlur", "GaussianNoise",
    "Homography", "Illumination", "LandmarkAnchor", "Lens", "LibJPEG", "MeasuredPrinter", "NonPrintability",
    "OutOfGamut", "PalettePrinter", "Parabola", "PhysicalChain", "PhysicalStage", "Placement", "Planar", "Printer",
    "QuadAnchor", "Resize", "SampledTransform", "Sensor", "ThinPlate", "ToneCurve", "TotalVariation",
    "check_held_out", "fit_printer", "held_out_family", "optimization_family", "shared_mechanisms",
]  # fmt: skip
