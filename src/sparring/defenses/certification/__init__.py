"""Certified robustness: guarantees that hold whatever the attack."""

from .patches import DerandomizedSmoothing, PatchCertificates, PatchCleanser
from .smoothing import ABSTAIN, SmoothedClassifier, SmoothingCertificates, SmoothingPredictions

__all__ = [
    "ABSTAIN",
    "DerandomizedSmoothing",
    "PatchCertificates",
    "PatchCleanser",
    "SmoothedClassifier",
    "SmoothingCertificates",
    "SmoothingPredictions",
]
