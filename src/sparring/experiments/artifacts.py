"""Saving, describing and drawing of artifacts: the files of `sparring fit`, which `sparring apply` reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from ..attacks import Artifact, Perturbation
from ..audit.evaluation.predictions import Prediction
from ..audit.records.statistics import Share, share
from ..audit.report.gallery import class_namer
from ..engine import Outcome
from ..errors import ConfigError
from ..zoo import InputSpec
from .figures import before_and_after

SUFFIX = ".safetensors"
LONGEST, LARGEST = 200, 4096  # characters, and sides of an image, that a file may speak of


def describe_artifact(artifact: Artifact, made: Mapping[str, Any]) -> list[str]:
    """Describe in lines what the artifact is, and what its file (`made`) says of its making."""
    size = " x ".join("any" if side is None else str(side) for side in artifact.shape)
    lines = [f"{artifact.kind} within {artifact.ball}, for images {size}"]

    def value(*names: str) -> str:
        return next((str(made[name])[:LONGEST] for name in names if name in made), "?")

    if made:
        model, data = value("model", "target"), value("data", "images_sha256")
        images = f"{value('images')} images of {data}"
        lines.append(f"made by {value('attack')} on {model} with {images}, seed {value('seed')}")
    if (held := held_out_rate(made)) is not None:
        lines.append(f"it fooled {held.share:.1%} of {held.total} held-out images there ({interval_text(held)})")
    return lines


def held_out_rate(made: Mapping[str, Any]) -> Share | None:
    """Return the fooling rate on held-out images that the file states; None where it states none."""
    try:
        count, total = (int(number) for number in made["fooled"]["held out"])
        return share(count, total)
    except (KeyError, TypeError, ValueError, OverflowError, ConfigError):
        return None


def target_class(made: Mapping[str, Any], classes: int) -> int | None:
    """Return the target class that the file states, if it is one of the model's."""
    target = made.get("class")
    return target if isinstance(target, int) and not isinstance(target, bool) and 0 <= target < classes else None


def input_made_for(made: Mapping[str, Any]) -> InputSpec | None:
    """Return the input that the file says it was made on, for artifacts that take any size."""
    size = made.get("size")
    if not isinstance(size, list) or len(size) != 3 or not all(type(side) is int for side in size):
        return None
    return InputSpec(*size) if all(0 < side <= LARGEST for side in size) else None


def fooling_rate(outcome: Outcome) -> Share:
    """Return how many images fell, of those that were answered and on which the goal was not met before."""
    attacked = ~(outcome.already | outcome.unanswered)
    return share(int((outcome.success & attacked).sum()), int(attacked.sum()))


def interval_text(part: Share) -> str:
    """Write the 95 % interval in words."""
    return f"{part.low:.1%} to {part.high:.1%}"


def prediction_captions(seen: Prediction, class_names: tuple[str, ...] | None) -> list[str]:
    """Caption each of B images with the predicted class and its confidence."""
    named, sure = class_namer(class_names), seen.confidence.tolist()
    return [f"{named(label)}, {sure[row]:.0%}" for row, label in enumerate(seen.predicted.tolist())]


def artifact_picture(
    artifact: Artifact, before: Tensor, captions: tuple[Sequence[str], Sequence[str]], title: str
) -> bytes:
    """Draw a PNG of images (N, C, H, W) before and after the artifact, with their captions."""
    delta = artifact.delta if isinstance(artifact, Perturbation) else None
    return before_and_after(before, artifact.apply(before), captions, title, delta)
