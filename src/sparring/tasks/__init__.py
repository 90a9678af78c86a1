"""Tasks: the kinds of outputs a target may have (classes, embeddings, boxes, maps)."""

from .classification import Classification
from .detection import Detection, Detections
from .segmentation import Segmentation
from .task import Task, without_nan
from .verification import Verification, similarity

__all__ = [
    "Classification", "Detection", "Detections", "Segmentation", "Task", "Verification", "similarity", "without_nan",
]  # fmt: skip
