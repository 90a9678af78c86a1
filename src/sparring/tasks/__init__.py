"""What the outputs of a target are: checked, made one out of several, and told to a person."""

from .classification import Classification
from .detection import Detection, Detections
from .segmentation import Segmentation
from .task import Task
from .verification import Verification

__all__ = ["Classification", "Detection", "Detections", "Segmentation", "Task", "Verification"]
