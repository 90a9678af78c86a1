"""Certified robustness: guarantees that hold whatever the attack.

Deterministic ones by bounds that hold in the whole region around an image (`certify_bounds`, `verify`), probable ones
by randomised smoothing, and those against patches.
"""

from .branch_and_bound import BranchAndBound
from .certify import METHODS, MarginBounds, certify_bounds
from .graph import Network
from .optimized_slopes import SlopeSearch
from .patches import DerandomizedSmoothing, PatchCertificates, PatchCleanser
from .smoothing import ABSTAIN, SmoothedClassifier, SmoothingCertificates, SmoothingPredictions
from .verify import Certificates, Status, verify

__all__ = [
    "ABSTAIN",
    "METHODS",
    "BranchAndBound",
    "Certificates",
    "DerandomizedSmoothing",
    "MarginBounds",
    "Network",
    "PatchCertificates",
    "PatchCleanser",
    "SlopeSearch",
    "SmoothedClassifier",
    "SmoothingCertificates",
    "SmoothingPredictions",
    "Status",
    "certify_bounds",
    "verify",
]
