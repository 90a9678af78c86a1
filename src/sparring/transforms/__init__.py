"""Transforms of inputs before a model, and detectors that may reject them."""

from .align import ARCFACE_TEMPLATE, DLIB_TEMPLATE, AlignFace
from .artifact import AppliedArtifact
from .colour import ColourCurve
from .flow import FlowField
from .patch import PlacePatch
from .rotation import RotationTranslation
from .scene import Scene, move_places
from .shift import RandomShift
from .transform import (
    Detector,
    PipelinePart,
    Stage,
    Transform,
    apply_with_bpda,
    networks,
    straight_through,
    transform_with_bpda,
)

__all__ = [
    "ARCFACE_TEMPLATE", "DLIB_TEMPLATE", "AlignFace", "AppliedArtifact", "ColourCurve", "Detector", "FlowField",
    "PipelinePart", "PlacePatch", "RandomShift", "RotationTranslation", "Scene", "Stage", "Transform",
    "apply_with_bpda", "move_places", "networks", "straight_through", "transform_with_bpda",
]  # fmt: skip
