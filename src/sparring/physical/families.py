"""Two simulators with no mechanism in common: one to optimise through, one to judge by."""

from __future__ import annotations

from .camera import Camera, Exposure, GaussianBlur, GaussianNoise, Illumination, Lens, Sensor
from .chain import PhysicalChain
from .placement import Anchor, BoxAnchor, Homography, ThinPlate
from .printer import AffinePrinter


def optimization_family(anchor: Anchor = BoxAnchor(), *, severity: float = 1.0) -> PhysicalChain:
    """Return the chain to optimise through: affine printer, homography, Gaussian blur and noise.

    `dataclasses.replace` puts other stages in, as `Parabola` for a forehead.
    """
    camera = Camera(illumination=Exposure(), lens=GaussianBlur(), noise=GaussianNoise())
    chain = PhysicalChain(printer=AffinePrinter(), placement=Homography(anchor=anchor), camera=camera)
    return chain.at_severity(severity)


def held_out_family(anchor: Anchor = BoxAnchor(), *, severity: float = 1.0) -> PhysicalChain:
    """Return the chain to judge by, of which an optimisation through `optimization_family` has seen nothing."""
    camera = Camera(illumination=Illumination(), lens=Lens(), sensor=Sensor())
    return PhysicalChain(printer=None, placement=ThinPlate(anchor=anchor), camera=camera).at_severity(severity)
