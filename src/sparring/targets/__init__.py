"""What is attacked."""

from .classifier import Classifier
from .encoding import JPEG, Bytes, Codec, Resize
from .ensemble import Ensemble
from .onnx import Onnx
from .remote import Fields, OpenInference, Remote, RemoteLabels
from .replicated import Replicated
from .service import LockOut, Published, RateLimited, Reencoded
from .surrogate import Surrogate
from .target import Granting, Target
from .trainee import Trainee

__all__ = [
    "JPEG", "Bytes", "Classifier", "Codec", "Ensemble", "Fields", "Granting", "LockOut", "Onnx", "OpenInference",
    "Published", "RateLimited", "Reencoded", "Remote", "RemoteLabels", "Replicated", "Resize", "Surrogate", "Target",
    "Trainee",
]  # fmt: skip
