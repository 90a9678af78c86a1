"""Boxes and objects in images, and metrics of detectors: average precision, and what became of each object."""

from .average_precision import COCO_THRESHOLDS, AveragePrecision, average_precision
from .boxes import box_areas, box_iou, boxes_around, corners_of, suppress_non_maxima
from .objects import Objects, objects_of
from .rates import DetectionRates, consecutive_misses, detection_rates

__all__ = [
    "COCO_THRESHOLDS", "AveragePrecision", "DetectionRates", "Objects", "average_precision", "box_areas", "box_iou",
    "boxes_around", "consecutive_misses", "corners_of", "detection_rates", "objects_of", "suppress_non_maxima",
]  # fmt: skip
