"""What a fit leaves behind: it is applied to any image, saved, and read back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from torch import Tensor

from ...errors import InputError
from ...geometry import Ball
from ...storage import write_tensors


class Artifact(ABC):
    """A way to move any image within a ball."""

    kind: ClassVar[str]

    if TYPE_CHECKING:  # a field of every artifact

        @property
        def ball(self) -> Ball:
            """How far an image is moved at most."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int | None, ...]:
        """(C, H, W) of the images it applies to; None where any size will do."""

    @abstractmethod
    def moved(self, x: Tensor) -> Tensor:
        """The images x (B, C, H, W) in [0, 1], moved within the ball and the valid range."""

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """What a file holds."""

    def settings(self) -> dict[str, Any]:
        """Plain values that the file holds beside the tensors."""
        return {}

    @classmethod
    @abstractmethod
    def rebuilt(cls, ball: Ball, tensors: dict[str, Tensor], settings: Mapping[str, Any]) -> Self:
        """What `tensors` and `settings` took apart; ValueError, KeyError or TypeError where they do not fit."""

    def apply(self, x: Tensor) -> Tensor:
        """The images x (N, C, H, W) in [0, 1], each moved; detached, on the device of `x`."""
        self.check(x)
        with torch.no_grad():
            return self.moved(x)

    def check(self, x: Tensor) -> None:
        """InputError where the images are none that the artifact applies to."""
        fits = x.ndim == 4 and all(w in (None, n) for w, n in zip(self.shape, x.shape[1:], strict=True))
        if not fits or not x.is_floating_point():
            wanted = ", ".join("any" if n is None else str(n) for n in self.shape)
            raise InputError(f"the artifact moves images (N, {wanted}), and these are {x.dtype} {tuple(x.shape)}")

    def save(self, path: Path | str, made: Mapping[str, Any] | None = None) -> Path:
        """Write one safetensors file, with `made` (`Fitted.made`: model, data, attack, seed) in its metadata.

        Raises:
            RunError: where the disk does not take it.
        """
        path = Path(path)
        ball = {"norm": type(self.ball).__name__, "eps": self.ball.eps}
        versions = {"sparring": version("sparring"), "torch": torch.__version__}
        values = {"kind": self.kind, "ball": ball, "settings": self.settings(), "versions": versions}
        write_tensors(path, self.tensors(), {**values, "made": dict(made or {})})
        return path
