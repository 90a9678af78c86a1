"""Placements: an artifact on a surface in the picture of a scene."""

from .anchor import Anchor, BoxAnchor, LandmarkAnchor, QuadAnchor
from .curved import Cylinder, Parabola
from .placement import Placement, PlacementParameters, Projected
from .planar import Homography, Planar
from .thin_plate import ThinPlate

__all__ = [
    "Anchor", "BoxAnchor", "Cylinder", "Homography", "LandmarkAnchor", "Parabola", "Placement", "PlacementParameters",
    "Planar", "Projected", "QuadAnchor", "ThinPlate",
]  # fmt: skip
