"""Tasks: the kinds of outputs a target may have (classes, embeddings, boxes, maps)."""

from .classification import Classification
from .detection import Detection, Detections
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
    "Axis", "Box", "Classification", "Column", "Detection", "Detections", "Line", "Picture", "Plot", "Results",
    "Section", "Segmentation", "Strip", "Table", "Task", "ThreatResults", "Verification", "Words", "similarity",
    "task_named", "without_nan",
]  # fmt: skip
