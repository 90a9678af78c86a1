"""Object detectors as targets: from pixels through a network and the reading of its head to `Detections`."""

from .anchors import AnchorHead
from .centernet import CenterNetHead
from .detr import DETRHead
from .distribution import DistributionHead
from .fcos import FCOSHead
from .head import Head
from .list_of_objects import ListHead
from .object_detector import ObjectDetector
from .yolo import YOLOHead

__all__ = [
    "AnchorHead", "CenterNetHead", "DETRHead", "DistributionHead", "FCOSHead", "Head", "ListHead", "ObjectDetector",
    "YOLOHead",
]  # fmt: skip
