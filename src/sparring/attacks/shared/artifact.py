"""The base class `Artifact` of what `fit` returns: it perturbs any image, and can be saved and loaded."""

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
from ...random import Key
from ...storage import write_tensors


class Artifact(ABC):
    """Base class of artifacts, which perturb any image within a ball."""

    kind: ClassVar[str]  # its name in files

    if TYPE_CHECKING:  # a field of every artifact

        @property
        def ball(self) -> Ball:
            """The ball around each image that the perturbed image stays in."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int | None, ...]:
        """(C, H, W) of the images it applies to; None where any size will do."""

    @property
    def stochastic(self) -> bool:
        """Is the perturbed image random, as with a patch at a random place?"""
        return False

    @abstractmethod
    def perturb(self, x: Tensor, key: Key, context: Any) -> Tensor:
        """Perturb the images x (B, C, H, W) in [0, 1] within the ball and the valid range, unchecked.

        All draws are from `key`; `context` is what lies beside the images, or None.
        """

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors that a file holds, by name."""

    def settings(self) -> dict[str, Any]:
        """Return the plain values that the file holds beside the tensors."""
        return {}

    @classmethod
    @abstractmethod
    def from_tensors(cls, ball: Ball, tensors: dict[str, Tensor], settings: Mapping[str, Any]) -> Self:
        """Make the artifact whose `tensors` and `settings` these are.

        Raises ValueError, KeyError or TypeError where they do not fit.
        """

    def apply(self, x: Tensor, key: Key | None = None, context: Any = None) -> Tensor:
        """Perturb the images x (N, C, H, W) in [0, 1]; the result is detached, on the device of `x`.

        Args:
            key: what an artifact with draws draws from, one index per image; None: the same draws at each call.
            context: a row-wise record of what lies beside the images: the boxes that a patch is put into.

        Raises InputError for images that it does not apply to.
        """
        self.check(x)
        key = Key(torch.arange(len(x), device=x.device), 0) if key is None else key
        with torch.no_grad():
            return self.perturb(x, key, context)

    def check(self, x: Tensor) -> None:
        """Raise InputError for images that the artifact does not apply to."""
        fits = x.ndim == 4 and all(w in (None, n) for w, n in zip(self.shape, x.shape[1:], strict=True))
        if not fits or not x.is_floating_point():
            wanted = ", ".join("any" if n is None else str(n) for n in self.shape)
            raise InputError(f"the artifact moves images (N, {wanted}), and these are {x.dtype} {tuple(x.shape)}")

    def save(self, path: Path | str, made: Mapping[str, Any] | None = None) -> Path:
        """Write one safetensors file, with `made` (`Fitted.made`: model, data, attack, seed) in its metadata.

        Raises:
            RunError: where the file cannot be written.
        """
        path = Path(path)
        ball = {"norm": type(self.ball).__name__, "eps": self.ball.eps}
        versions = {"sparring": version("sparring"), "torch": torch.__version__}
        values = {"kind": self.kind, "ball": ball, "settings": self.settings(), "versions": versions}
        write_tensors(path, self.tensors(), {**values, "made": dict(made or {})})
        return path
