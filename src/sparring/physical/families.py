"""Two simulators with no mechanism in common: one to optimise through, one to judge by."""

from __future__ import annotations

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
    Sensor,
    ToneCurve,
)
from .chain import PhysicalChain
from .placement import Anchor, BoxAnchor, Homography, ThinPlate
from .printer import AffinePrinter, GamutPrinter


def optimization_family(anchor: Anchor = BoxAnchor(), *, severity: float = 1.0) -> PhysicalChain:
    """Return the chain to optimise through.

    Affine printer, homography, exposure, Gaussian blur and noise, JPEG with a sloped rounding: what is usual in the
    expectation over transformations (Athalye et al. 2018). `dataclasses.replace(chain, placement=Parabola(...))` puts
    another surface in.
    """
    camera = Camera(
        illumination=Exposure(), lens=GaussianBlur(), noise=GaussianNoise(), codec=DifferentiableJPEG(quality=(60, 95))
    )
    chain = PhysicalChain(printer=AffinePrinter(), placement=Homography(anchor=anchor), camera=camera)
    return chain.at_severity(severity)


def held_out_family(anchor: Anchor = BoxAnchor(), *, severity: float = 1.0) -> PhysicalChain:
    """Return the chain to judge by, none of whose mechanisms `optimization_family` has.

    Inks on paper, cloth, light that changes in colour and across the picture, defocus, motion and vignetting, photons
    and electronics, a Bayer mosaic, automatic white and exposure, tone and sharpening, libjpeg.
    """
    camera = Camera(
        illumination=Illumination(),
        lens=Lens(),
        sensor=Sensor(),
        mosaic=BayerMosaic(),
        balance=AutoBalance(),
        tone=ToneCurve(),
        codec=LibJPEG(),
    )
    chain = PhysicalChain(printer=GamutPrinter(), placement=ThinPlate(anchor=anchor), camera=camera)
    return chain.at_severity(severity)
