"""Facts about a run that a reader needs to repeat it."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

import torch
from pydantic import BaseModel, ConfigDict

from ...geometry import Ball
from ...tasks import Words
from ..evaluation.prediction_columns import PredictionColumn
from ..plan import StorableModel

PACKAGES = ("sparring", "torch", "numpy", "pillow", "safetensors")


class MaskFacts(BaseModel):
    """The mask under which attacks worked: the share of components that may move; `each`: every input has its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    share: float
    each: bool


class Facts(StorableModel):
    """What is known before the first attack; written beside the plan."""

    model: str
    source: str | None
    sha256: str | None  # of the weights' file, else of the weights
    weights: str | None  # SHA-256 over the parameters and buffers as they are in memory
    task: str
    columns: tuple[PredictionColumn, ...]  # of the task's prediction
    goal: str  # the name of the class of the attacker's goal
    goal_values: dict[str, bool | int | float | str | None]  # its plain values
    words: Words  # of the goal, for what is measured
    classes: int | None  # of a classifier
    class_names: tuple[str, ...] | None
    access: str
    views: tuple[tuple[str, str], ...]  # name and access of each view, in their order
    stochastic: bool
    defended: bool
    rejects: bool
    may_decline: bool  # inputs without an answer are no fault of the model
    draws: int  # passes that a question of the last view is averaged over
    surrogate: str | None  # SHA-256 of the surrogate's weights
    inputs: str  # images, point clouds, ...
    input_shape: tuple[int, ...]
    mask: MaskFacts | None
    radii: tuple[float, float] | None  # the smallest and the largest, where each input has one of its own
    probabilities: bool
    attacks: dict[str, tuple[tuple[str, str], ...]]  # of each view and ball: name and access, in their order
    data: str
    label_note: str
    candidates: int | None
    command: str
    versions: dict[str, str]
    device: str
    precision: str
    started: str


def attacks_key(view: str, ball: Ball) -> str:
    """Return the key of a view's attacks on a ball in `Facts.attacks`."""
    return f"{view} {ball}"


def versions() -> dict[str, str]:
    """Return versions of what computes the result."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed as a package"
    return found


def device_name(device: torch.device) -> str:
    """Return the device as the records name it: with the GPU's name for CUDA, with the thread count for the CPU."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"{device} ({torch.get_num_threads()} threads)" if device.type == "cpu" else str(device)


def utc_timestamp() -> str:
    """Return the current time in UTC as ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
