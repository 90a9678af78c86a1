"""Transforms of inputs before a model, and detectors that may reject them."""

from .align import AlignFace
from .artifact import AppliedArtifact
from .colour import ColourCurve
from .flow import FlowField
from .patch import PlacePatch
from .rotation import RotationTranslation
from .scene import Scene
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
    "AlignFace", "AppliedArtifact", "ColourCurve", "Detector", "FlowField", "PipelinePart", "PlacePatch", "RandomShift",
    "RotationTranslation", "Scene", "Stage", "Transform", "apply_with_bpda", "networks", "straight_through",
    "transform_with_bpda",
]  # fmt: skip
