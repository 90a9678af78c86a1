"""What is attacked."""

from .classifier import Classifier
from .defended import Audited, Defended
from .encoding import JPEG, Bytes, Codec, Resize
from .ensemble import Ensemble
from .keyed import Keyed
from .onnx import Onnx
from .remote import Fields, OpenInference, Remote, RemoteLabels
from .replicated import Replicated
from .service import LockOut, Published, RateLimited, Reencoded
from .stage import Screen, Stage, passed, stood_in
from .surrogate import Surrogate
from .target import Granting, Target, Unidentified, answered
from .trainee import Trainee

__all__ = [
    "JPEG", "Audited", "Bytes", "Classifier", "Codec", "Defended", "Ensemble", "Fields", "Granting", "Keyed", "LockOut",
    "Onnx", "OpenInference", "Published", "RateLimited", "Reencoded", "Remote", "RemoteLabels", "Replicated", "Resize",
    "Screen", "Stage", "Surrogate", "Target", "Trainee", "Unidentified", "answered", "passed", "stood_in",
]  # fmt: skip
