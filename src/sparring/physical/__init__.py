"""The physical chain: an artifact is printed, placed in a scene, and captured by a camera."""

from .camera import Camera, Exposure, GaussianBlur, GaussianNoise, Illumination, Lens, Sensor
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
from .printer import AffinePrinter, Printer
from .stage import PhysicalStage, SampledTransform

__all__ = [
    "AffinePrinter", "Anchor", "BoxAnchor", "Camera", "ChainParameters", "Cylinder", "Exposure", "GaussianBlur",
    "GaussianNoise", "Homography", "Illumination", "LandmarkAnchor", "Lens", "Parabola", "PhysicalChain",
    "PhysicalStage", "Placement", "Planar", "Printer", "QuadAnchor", "SampledTransform", "Sensor", "ThinPlate",
    "check_held_out", "held_out_family", "optimization_family", "shared_mechanisms",
]  # fmt: skip
