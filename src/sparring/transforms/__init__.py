"""What inputs pass through before a model answers, and what may reject them."""

from .transform import (
    Detector,
    Part,
    Stage,
    Transform,
    apply_with_bpda,
    networks,
    straight_through,
    transform_with_bpda,
)

__all__ = [
    "Detector", "Part", "Stage", "Transform", "apply_with_bpda", "networks", "straight_through", "transform_with_bpda",
]  # fmt: skip
