"""What the attacker wants: goals, which judge the outputs of a model, and the losses that attacks ascend."""

from .classification import ClassifyAs, Misclassify, least_likely
from .climbs import (
    DLR,
    Climb,
    CrossEntropy,
    Divergence,
    JensenShannon,
    LogitClimb,
    LogOdds,
    Margin,
    MaskedCrossEntropy,
    PowerMargin,
    RandomDirection,
    RivalDLR,
    RivalMargin,
    ScaledCrossEntropy,
    SmoothDLR,
    SmoothMargin,
)
from .detection import Create, DetectionGoal, Mislabel, Vanish
from .ensemble import FoolMembers, MemberOutputs
from .goal import Goal, Verdict
from .identification import EvadeIdentification, IdentificationGoal, IdentifyAs
from .regularized import RegularizedGoal, RegularizedOutputs, without_penalty
from .scenes import FoolScenes, SceneTerms
from .segmentation import MisclassifyPixels
from .share import ShareGoal
from .terms import Terms, mean_terms
from .undetected import ClimbDetector, ClimbTask, DetectorOutputs, Undetected
from .verification import Dodge, Impersonate, PublishedScore, VerificationGoal

__all__ = [
    "DLR",
    "ClassifyAs",
    "Climb",
    "ClimbDetector",
    "ClimbTask",
    "Create",
    "CrossEntropy",
    "DetectionGoal",
    "DetectorOutputs",
    "Divergence",
    "Dodge",
    "EvadeIdentification",
    "FoolMembers",
    "FoolScenes",
    "Goal",
    "IdentificationGoal",
    "IdentifyAs",
    "Impersonate",
    "JensenShannon",
    "LogOdds",
    "LogitClimb",
    "Margin",
    "MaskedCrossEntropy",
    "MemberOutputs",
    "Misclassify",
    "MisclassifyPixels",
    "Mislabel",
    "PowerMargin",
    "PublishedScore",
    "RandomDirection",
    "RegularizedGoal",
    "RegularizedOutputs",
    "RivalDLR",
    "RivalMargin",
    "ScaledCrossEntropy",
    "SceneTerms",
    "ShareGoal",
    "SmoothDLR",
    "SmoothMargin",
    "Terms",
    "Undetected",
    "Vanish",
    "Verdict",
    "VerificationGoal",
    "least_likely",
    "mean_terms",
    "without_penalty",
]  # fmt: skip
