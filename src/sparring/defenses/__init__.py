"""What makes a model harder to break."""

from . import training
from .training import train

__all__ = ["train", "training"]
