"""Carlini & Wagner's attack with a distance between clouds (Xiang et al. 2019, arXiv:1809.07016, section 4.1).

    minimise  D(x', x) + c * max(confidence - margin(x'), 0),   D Chamfer's or Hausdorff's distance

Departure: the search over c is that of `CarliniWagner`, which it differs from in the distance alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..attacks import CarliniWagner
from ..errors import ConfigError, InputError
from ..geometry.region import Region
from ..inputs import PointClouds
from .distances import PointDistance


@dataclass(frozen=True)
class CarliniWagnerPoints(CarliniWagner):
    """Find the cloud that is nearest by Chamfer's or Hausdorff's distance; parameters are those of `CarliniWagner`.

    A step of `learning_rate` moves a coordinate by that share of half its range: where clouds lie in [-100, 100] metres
    the default of 0.01 is a metre, and 1e-4 a centimetre.

    Under a mask the points that may move are those that count in the distance.

    Args:
        distance: PointDistance.CHAMFER or HAUSDORFF, in squared units of the cloud.
    """

    distance: PointDistance = PointDistance.CHAMFER

    alternative: ClassVar[str] = "CarliniWagner"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.distance, PointDistance):
            raise ConfigError(f"distance={self.distance!r}; pass PointDistance.CHAMFER or PointDistance.HAUSDORFF")

    def check(self, region: Region) -> None:
        """Raise InputError where the inputs are no point clouds."""
        super().check(region)
        if not isinstance(region.inputs, PointClouds):
            raise InputError(f"{self.name} compares clouds, and these are {region.inputs.plural}; use CarliniWagner")

    def distance_from(self, images: Tensor, region: Region) -> Tensor:
        """Return the distance (B,) of clouds (B, N, 3) from the inputs of `region`."""
        return self.distance.between(images, region.x, _counted(region))

    def curvature(self, region: Region) -> Tensor | float:
        """Return 2 / points: what a small perturbation's squared L2 norm counts in Chamfer's distance."""
        counted = _counted(region)
        return 2 / region.x.shape[1] if counted is None else 2 / counted.sum(1).to(region.x.dtype)

    def measure(self, delta: Tensor, region: Region) -> Tensor:
        return self.distance_from(region.x + delta, region)


def _counted(region: Region) -> Tensor | None:
    """Return (B, N) bool: the points that may move; None: all."""
    return None if region.free is None else region.free.any(2)
