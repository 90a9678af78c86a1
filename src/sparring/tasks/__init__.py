"""Tasks: the kinds of outputs a target may have (classes, embeddings, boxes, maps)."""

from ..detection_metrics import Objects, box_iou, objects_of, suppress_non_maxima
from .classification import Classification
from .detection import OBJECTIVES, Detection, Detections
from .identification import Identification
from .report import (
    Axis,
    Box,
    Column,
    Line,
    Picture,
    Plot,
    Results,
    Section,
    Strip,
    Table,
    ThreatResults,
    Words,
)  # fmt: skip
from .segmentation import Segmentation
from .task import Task, task_named, without_nan
from .verification import Verification, similarity

__all__ = [
    "OBJECTIVES", "Axis", "Box", "Classification", "Column", "Detection", "Detections", "Identification", "Line",
    "Objects", "Picture", "Plot", "Results", "Section", "Segmentation", "Strip", "Table", "Task", "ThreatResults",
    "Verification", "Words", "box_iou", "objects_of", "similarity", "suppress_non_maxima", "task_named",
    "without_nan",
]  # fmt: skip
