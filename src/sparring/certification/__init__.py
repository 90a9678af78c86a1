"""Certified robustness: guarantees that hold whatever the attack."""

from .patches import DerandomizedSmoothing, PatchCertificates, PatchCleanser
from .smoothing import ABSTAIN, Certificates, Predictions, SmoothedClassifier

__all__ = [
    "ABSTAIN",
    "Certificates",
    "DerandomizedSmoothing",
    "PatchCertificates",
    "PatchCleanser",
    "Predictions",
    "SmoothedClassifier",
]
