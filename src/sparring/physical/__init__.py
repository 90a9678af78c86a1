"""The physical chain: an artifact is printed, placed in a scene, captured by a camera, and judged."""

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
from .destruction import DestructionRate, destruction_rate
from .families import held_out_family, optimization_family
from .judging import JudgedView, PhysicalJudgement, judge_physical
from .lab_distance import LabDistance
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
from .printed import PrintedArtifact, export_png, load_png
from .printer import AffinePrinter, GamutPrinter, MeasuredPrinter, PalettePrinter, Printer, fit_printer
from .registration import PhotographedSheet, read_photograph
from .regularizers import ContentDistance, NonPrintability, OutOfGamut, TotalVariation
from .sheet import STRIP, Sheet, export_pdf, render_sheet, sheet_of
from .stage import PhysicalStage, SampledTransform

__all__ = [
    "STRIP", "AffinePrinter", "Anchor", "AutoBalance", "BayerMosaic", "BoxAnchor", "Camera", "ChainParameters",
    "ContentDistance", "Cylinder", "DestructionRate", "DifferentiableJPEG", "Exposure", "GamutPrinter", "GaussianBlur",
    "GaussianNoise", "Homography", "Illumination", "JudgedView", "LabDistance", "LandmarkAnchor", "Lens", "LibJPEG",
    "MeasuredPrinter", "NonPrintability", "OutOfGamut", "PalettePrinter", "Parabola", "PhotographedSheet",
    "PhysicalChain", "PhysicalJudgement", "PhysicalStage", "Placement", "Planar", "PrintedArtifact", "Printer",
    "QuadAnchor", "Resize", "SampledTransform", "Sensor", "Sheet", "ThinPlate", "ToneCurve", "TotalVariation",
    "check_held_out", "destruction_rate", "export_pdf", "export_png", "fit_printer", "held_out_family",
    "judge_physical", "load_png", "optimization_family", "read_photograph", "render_sheet", "shared_mechanisms",
    "sheet_of",
]  # fmt: skip
