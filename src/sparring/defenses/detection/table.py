"""The table of detectors, by the name that the command line uses."""

from __future__ import annotations

from .detector import DetectorEstimator
from .extra_class import ExtraClass
from .feature_detector import FeatureDetector
from .feature_squeezing import FeatureSqueezing
from .input_detector import InputDetector
from .kernel_density import KernelDensity
from .lid import LID
from .magnet import MagNet
from .mahalanobis import Mahalanobis
from .subspace import Subspace

table: dict[str, type[DetectorEstimator]] = {
    "input": InputDetector,
    "feature": FeatureDetector,
    "extra-class": ExtraClass,
    "feature-squeezing": FeatureSqueezing,
    "magnet": MagNet,
    "lid": LID,
    "mahalanobis": Mahalanobis,
    "kernel-density": KernelDensity,
    "subspace": Subspace,
}
