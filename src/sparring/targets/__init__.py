"""What is attacked."""

from .classifier import Classifier
from .target import Granting, Target

__all__ = ["Classifier", "Granting", "Target"]
