"""What is attacked."""

from .classifier import Classifier
from .defended import AdaptiveView, Defended
from .deployment import InputCodec, LockOut, RateLimited, TruncatedScores
from .encoding import JPEG, Bytes, Codec, Resize
from .ensemble import Ensemble
from .onnx import Onnx
from .random_layers import Keyed
from .remote import Fields, OpenInference, Remote, RemoteLabels
from .replicated import Replicated
from .stage import Detector, Stage, apply_with_bpda, straight_through
from .surrogate import Surrogate
from .target import Restricted, Target, Unidentified, answered
from .trainee import Trainee

__all__ = [
    "JPEG",
    "AdaptiveView",
    "Bytes",
    "Classifier",
    "Codec",
    "Defended",
    "Detector",
    "Ensemble",
    "Fields",
    "InputCodec",
    "Keyed",
    "LockOut",
    "Onnx",
    "OpenInference",
    "RateLimited",
    "Remote",
    "RemoteLabels",
    "Replicated",
    "Resize",
    "Restricted",
    "Stage",
    "Surrogate",
    "Target",
    "Trainee",
    "TruncatedScores",
    "Unidentified",
    "answered",
    "apply_with_bpda",
    "straight_through",
]  # fmt: skip
