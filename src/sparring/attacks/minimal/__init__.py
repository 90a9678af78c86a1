"""Attacks that look for the smallest perturbation."""

from .carlini_wagner import CarliniWagner
from .ddn import DDN
from .deepfool import DeepFool
from .fmn import FMN

__all__ = ["DDN", "FMN", "CarliniWagner", "DeepFool"]
