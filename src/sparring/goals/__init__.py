"""What the attacker wants: goals, which judge the outputs of a model, and the losses that attacks ascend."""

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
from .terms import Terms, mean_terms
from .undetected import ClimbDetector, ClimbTask, DetectorOutputs, Undetected

__all__ = [
    "DLR",
    "ClassifyAs",
    "Climb",
    "ClimbDetector",
    "ClimbTask",
    "CrossEntropy",
    "DetectorOutputs",
    "Divergence",
    "Goal",
    "LogOdds",
    "LogitClimb",
    "Margin",
    "Misclassify",
    "RandomDirection",
    "RivalDLR",
    "RivalMargin",
    "SmoothDLR",
    "SmoothMargin",
    "Terms",
    "Undetected",
    "Verdict",
    "least_likely",
    "mean_terms",
]  # fmt: skip
