"""Deterministic certificates: bounds that hold in the whole region around an image, and a verifier made of them."""

from .branch_and_bound import BranchAndBound
from .certify import METHODS, MarginBounds, certify_bounds
from .graph import Network
from .optimized_slopes import SlopeSearch
from .verify import Certificates, Status, verify

__all__ = [
    "METHODS",
    "BranchAndBound",
    "Certificates",
    "MarginBounds",
    "Network",
    "SlopeSearch",
    "Status",
    "certify_bounds",
    "verify",
]
