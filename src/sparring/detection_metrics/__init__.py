"""Metrics of object detectors: average precision, and what became of each object."""

from .average_precision import COCO_THRESHOLDS, AveragePrecision, average_precision
from .rates import DetectionRates, consecutive_misses, detection_rates

__all__ = [
    "COCO_THRESHOLDS", "AveragePrecision", "DetectionRates", "average_precision", "consecutive_misses",
    "detection_rates",
]  # fmt: skip
