"""Defences: adversarial training, purification, randomization and detection."""

from . import training
from .training import train

__all__ = ["train", "training"]
