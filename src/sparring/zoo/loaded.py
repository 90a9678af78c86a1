"""`LoadedModel`: the target that a loader returns, with the input size and preprocessing it needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..targets import Target
from ..text import storable


@dataclass(frozen=True)
class InputSpec:
    """How a picture becomes the input of a model.

    The short side is resized to `size / crop_fraction` and the center is cut out; with `squash` the whole
    picture is resized to height x width, whatever its shape.
    """

    channels: int
    height: int
    width: int
    crop_fraction: float = 1.0
    interpolation: str = "bicubic"
    squash: bool = False


@dataclass(frozen=True)
class LoadedModel:
    """A target with what an audit must know of it; `sha256` is of the weights file, where there is one."""

    name: str
    target: Target[Any]
    input: InputSpec | None
    class_names: tuple[str, ...] | None
    source: str
    sha256: str | None

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", storable(self.name))
        if self.class_names is not None:
            object.__setattr__(self, "class_names", storable(tuple(str(name) for name in self.class_names)))
