"""LiDAR: a ray caster, a scanner, synthetic streets, and attacks and defences on point clouds."""

from .adversarial_mesh import MeshInScene
from .carlini_wagner_points import CarliniWagnerPoints
from .defenses import FreeSpaceCheck, OutlierRemoval, RandomSampling
from .distances import PointDistance, chamfer, hausdorff
from .point_files import PointCloud, padded_clouds, read_points
from .ray_casting import Hits, SoftHits, cast, cast_soft
from .scene import LidarScene
from .sensor import Lidar
from .variables import AddPoints, DropPoints, MovePoints, RangeShift, SpoofPoints

__all__ = [
    "AddPoints", "CarliniWagnerPoints", "DropPoints", "FreeSpaceCheck", "Hits", "Lidar", "LidarScene", "MeshInScene",
    "MovePoints", "OutlierRemoval", "PointCloud", "PointDistance", "RandomSampling", "RangeShift", "SoftHits",
    "SpoofPoints", "cast", "cast_soft", "chamfer", "hausdorff", "padded_clouds", "read_points",
]  # fmt: skip
