"""Randomised smoothing: certified L2 radii of any classifier under Gaussian noise."""

from .certificates import ABSTAIN, SmoothingCertificates, SmoothingPredictions, check_certificates
from .confidence import binomial_test, most_false_certificates
from .smoothed import SmoothedClassifier

__all__ = [
    "ABSTAIN",
    "SmoothedClassifier",
    "SmoothingCertificates",
    "SmoothingPredictions",
    "binomial_test",
    "check_certificates",
    "most_false_certificates",
]
