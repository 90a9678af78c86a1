"""What the attacker wants: outputs -> Verdict."""

from .classification import ClassifyAs, Misclassify
from .goal import Goal, Verdict
from .losses import DLR, CrossEntropy, Loss, Margin

__all__ = ["DLR", "ClassifyAs", "CrossEntropy", "Goal", "Loss", "Margin", "Misclassify", "Verdict"]
