"""Artifacts on the disk, in words and as pictures: what `sparring fit` leaves and `sparring apply` takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from ..attacks import Artifact, Perturbation
from ..audit.evaluation.predictions import Look
from ..audit.records.statistics import Share, share
from ..audit.report.gallery import names
from ..engine import Outcome
from ..errors import ConfigError
from ..zoo import InputSpec
from .figures import moved_images

SUFFIX = ".safetensors"
LONGEST, LARGEST = 200, 4096  # characters, and sides of an image, that a file may speak of


def described(artifact: Artifact, made: Mapping[str, Any]) -> list[str]:
    """Lines that say what it is, and what its file says of its making."""
    size = " x ".join("any" if side is None else str(side) for side in artifact.shape)
    lines = [f"{artifact.kind} within {artifact.ball}, for images {size}"]

    def said(*names: str) -> str:
        return next((str(made[name])[:LONGEST] for name in names if name in made), "?")

    if made:
        model, data = said("model", "target"), said("data", "images_sha256")
        lines.append(f"made by {said('attack')} on {model} with {said('images')} images of {data}, seed {said('seed')}")
    if (held := held_out(made)) is not None:
        lines.append(f"it fooled {held.share:.1%} of {held.total} held-out images there ({interval(held)})")
    return lines


def held_out(made: Mapping[str, Any]) -> Share | None:
    """The fooling rate on held-out images that the file speaks of, if it does."""
    try:
        count, total = (int(number) for number in made["fooled"]["held out"])
        return share(count, total)
    except (KeyError, TypeError, ValueError, OverflowError, ConfigError):
        return None


def target_class(made: Mapping[str, Any], classes: int) -> int | None:
    """The class that the file says images were to be given, if it is one of the model's."""
    target = made.get("class")
    return target if isinstance(target, int) and not isinstance(target, bool) and 0 <= target < classes else None


def made_for(made: Mapping[str, Any]) -> InputSpec | None:
    """The images that the file says it was made on, for artifacts that take any size."""
    size = made.get("size")
    if not isinstance(size, list) or len(size) != 3 or not all(type(side) is int for side in size):
        return None
    return InputSpec(*size) if all(0 < side <= LARGEST for side in size) else None


def fooling(outcome: Outcome) -> Share:
    """How many of the images on which the goal was not met before fell."""
    return share(int((outcome.success & ~outcome.already).sum()), int((~outcome.already).sum()))


def interval(part: Share) -> str:
    """The 95 % interval in words."""
    return f"{part.low:.1%} to {part.high:.1%}"


def captions(seen: Look, class_names: tuple[str, ...] | None) -> list[str]:
    """What the model sees, and how sure it is."""
    named, sure = names(class_names), seen.confidence.tolist()
    return [f"{named(label)}, {sure[row]:.0%}" for row, label in enumerate(seen.predicted.tolist())]


def picture(artifact: Artifact, before: Tensor, said: tuple[Sequence[str], Sequence[str]], title: str) -> bytes:
    """A PNG: what the artifact does to the images, with what is said of them before and after."""
    delta = artifact.delta if isinstance(artifact, Perturbation) else None
    return moved_images(before, artifact.apply(before), said, title, delta)
