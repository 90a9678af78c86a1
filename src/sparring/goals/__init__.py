"""What the attacker wants: outputs -> Verdict."""

from .classification import ClassifyAs, Misclassify
from .goal import Goal, Verdict
from .losses import DLR, CrossEntropy, Lead, Loss, Margin, RivalDLR

__all__ = [
    "DLR", "ClassifyAs", "CrossEntropy", "Goal", "Lead", "Loss", "Margin", "Misclassify", "RivalDLR", "Verdict",
]  # fmt: skip
