"""What the attacker wants: outputs -> Verdict."""

from .classification import ClassifyAs, Misclassify, least_likely
from .goal import Goal, Verdict
from .losses import DLR, CrossEntropy, Divergence, Lead, LogOdds, Loss, Margin, RivalDLR

__all__ = [
    "DLR", "ClassifyAs", "CrossEntropy", "Divergence", "Goal", "Lead", "LogOdds", "Loss", "Margin", "Misclassify",
    "RivalDLR", "Verdict",
    "least_likely",
]  # fmt: skip
