"""Targets: models that can be attacked, and wrappers around them."""

from ..hashing import Unidentified
from .as_target import TorchModule, as_target
from .classifier import Classifier
from .defended import AdaptiveView, Defended
from .deployment import InputCodec, LockOut, PublishedScores, RateLimited, TruncatedScores
from .encoding import JPEG, Bytes, Codec, Resize
from .ensemble import Ensemble
from .model import Model
from .object_detection import ObjectDetector
from .onnx import Onnx
from .over_scenes import OverScenes
from .pipeline import Pipeline
from .random_layers import Keyed
from .regularized import Penalty, Regularized
from .remote import Fields, OpenInference, Remote, RemoteLabels
from .replicated import Replicated
from .surrogate import Surrogate
from .target import (
    Restricted,
    Target,
    WrappedTarget,
    answered,
    check_context,
    check_rows,
    check_task,
)
from .trainee import Trainee
from .verifier import Identifier, Verifier
from .wrapped_outputs import valid_rows

__all__ = [
    "JPEG",
    "AdaptiveView",
    "Bytes",
    "Classifier",
    "Codec",
    "Defended",
    "Ensemble",
    "Fields",
    "Identifier",
    "InputCodec",
    "Keyed",
    "LockOut",
    "Model",
    "ObjectDetector",
    "Onnx",
    "OpenInference",
    "OverScenes",
    "Penalty",
    "Pipeline",
    "PublishedScores",
    "RateLimited",
    "Regularized",
    "Remote",
    "RemoteLabels",
    "Replicated",
    "Resize",
    "Restricted",
    "Surrogate",
    "Target",
    "TorchModule",
    "Trainee",
    "TruncatedScores",
    "Unidentified",
    "Verifier",
    "WrappedTarget",
    "answered",
    "as_target",
    "check_context",
    "check_rows",
    "check_task",
    "valid_rows",
]  # fmt: skip
