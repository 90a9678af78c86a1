"""What the attacker wants: outputs -> Verdict."""

from .classification import ClassifyAs, Misclassify, least_likely
from .climbs import (
    DLR,
    Climb,
    CrossEntropy,
    Divergence,
    LogitClimb,
    LogOdds,
    Margin,
    RandomDirection,
    RivalDLR,
    RivalMargin,
    SmoothDLR,
    SmoothMargin,
)
from .goal import Goal, Verdict
from .screened import ClimbDetector, ClimbTask, Screened, Undetected
from .terms import Terms, mean_terms

__all__ = [
    "DLR", "ClassifyAs", "Climb", "ClimbDetector", "ClimbTask", "CrossEntropy", "Divergence", "Goal", "LogOdds",
    "LogitClimb", "Margin", "Misclassify", "RandomDirection", "RivalDLR", "RivalMargin", "Screened", "SmoothDLR",
    "SmoothMargin", "Terms", "Undetected", "Verdict", "least_likely", "mean_terms",
]  # fmt: skip
