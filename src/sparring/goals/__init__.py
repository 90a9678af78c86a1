"""What the attacker wants: outputs -> Verdict."""

from .classification import ClassifyAs, Misclassify, least_likely
from .goal import Goal, Verdict
from .losses import DLR, CrossEntropy, Divergence, Lead, LogOdds, Loss, Margin, RivalDLR
from .screened import Alarm, Alone, Screened, Undetected

__all__ = [
    "DLR", "Alarm", "Alone", "ClassifyAs", "CrossEntropy", "Divergence", "Goal", "Lead", "LogOdds", "Loss", "Margin",
    "Misclassify", "RivalDLR", "Screened", "Undetected", "Verdict", "least_likely",
]  # fmt: skip
