"""Attacks that look for the smallest perturbation."""

from .carlini_wagner import CarliniWagner
from .deepfool import DeepFool

__all__ = ["CarliniWagner", "DeepFool"]
