"""What tells adversarial images from others: one protocol for all, thresholds at a stated rate, and honest figures."""

from .crafted import Crafted, crafted, noise
from .detector import Detector
from .evaluation import Evaluation, evaluation
from .extra_class import ExtraClass
from .feature_detector import FeatureDetector
from .feature_squeezing import FeatureSqueezing
from .fitted import Fitted
from .generalization import Generalization, generalization
from .input_detector import InputDetector
from .intervals import Interval, auroc
from .kernel_density import KernelDensity
from .lid import LID
from .magnet import MagNet
from .mahalanobis import Mahalanobis
from .stored import opened
from .subspace import Subspace
from .table import table
from .threshold import Threshold, threshold

__all__ = [
    "LID", "Crafted", "Detector", "Evaluation", "ExtraClass", "FeatureDetector", "FeatureSqueezing", "Fitted",
    "Generalization", "InputDetector", "Interval", "KernelDensity", "MagNet", "Mahalanobis", "Subspace", "Threshold",
    "auroc", "crafted", "evaluation", "generalization", "noise", "opened", "table", "threshold",
]  # fmt: skip
