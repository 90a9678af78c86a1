"""LiDAR: a ray caster, a scanner, synthetic streets, and attacks and defences on point clouds."""

from .ray_casting import Hits, SoftHits, cast, cast_soft
from .scene import LidarScene
from .sensor import Lidar

__all__ = ["Hits", "Lidar", "LidarScene", "SoftHits", "cast", "cast_soft"]
