"""Detectors of adversarial images: one protocol, thresholds at a stated false positive rate, and their evaluation."""

from ...intervals import Interval, auroc
from .adversarial_set import AdversarialSet, add_sign_noise, make_adversarial_set
from .detector import DetectorEstimator
from .evaluation import DetectorEvaluation, evaluate_detector
from .extra_class import ExtraClass
from .feature_detector import FeatureDetector
from .feature_squeezing import FeatureSqueezing
from .fitted import FittedDetector
from .generalization import DetectorGeneralization, detector_generalization
from .input_detector import InputDetector
from .kernel_density import KernelDensity
from .lid import LID
from .magnet import MagNet
from .mahalanobis import Mahalanobis
from .serialization import load_detector
from .subspace import Subspace
from .table import table
from .threshold import Threshold, conformal_threshold

__all__ = [
    "LID",
    "AdversarialSet",
    "DetectorEstimator",
    "DetectorEvaluation",
    "DetectorGeneralization",
    "ExtraClass",
    "FeatureDetector",
    "FeatureSqueezing",
    "FittedDetector",
    "InputDetector",
    "Interval",
    "KernelDensity",
    "MagNet",
    "Mahalanobis",
    "Subspace",
    "Threshold",
    "add_sign_noise",
    "auroc",
    "conformal_threshold",
    "detector_generalization",
    "evaluate_detector",
    "load_detector",
    "make_adversarial_set",
    "table",
]  # fmt: skip
