"""Tasks: the kinds of outputs a target may have (classes, embeddings, boxes, maps)."""

from .boxes import box_iou, suppress_non_maxima
from .classification import Classification
from .detection import OBJECTIVES, Detection, Detections
from .objects import Objects, objects_of
from .segmentation import Segmentation
from .task import Task, without_nan
from .verification import Verification, similarity

__all__ = [
    "OBJECTIVES", "Classification", "Detection", "Detections", "Objects", "Segmentation", "Task", "Verification",
    "box_iou", "objects_of", "similarity", "suppress_non_maxima", "without_nan",
]  # fmt: skip
