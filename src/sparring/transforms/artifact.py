"""An artifact of `fit` or `run` (a perturbation, a generator, a patch) as a transform before a model."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from ..errors import ConfigError
from ..random import Key
from .transform import Transform


@runtime_checkable
class PerturbsImages(Protocol):
    """An artifact, as `sparring.attacks` makes them."""

    @property
    def stochastic(self) -> bool:
        """Does it draw, as a patch draws its place?"""

    def apply(self, x: Tensor, key: Key | None = None, context: Any = None) -> Tensor:
        """Perturb the images x (N, C, H, W), with the draws of `key` and what lies beside the images."""


class AppliedArtifact(Transform):
    """Images (B, C, H, W) -> the same images as the artifact perturbs them, with fresh draws at each question."""

    def __init__(self, artifact: PerturbsImages) -> None:
        given: Any = artifact
        if not isinstance(given, PerturbsImages):
            kind = type(given).__name__
            raise ConfigError(
                f"a {kind} is no artifact; pass attacks.Patch(image), or what fit() or load_artifact() gave"
            )
        self.artifact = artifact

    @property
    def stochastic(self) -> bool:
        return self.artifact.stochastic

    @property
    def differentiable(self) -> bool:
        """No: an artifact is finished, and a gradient passes it as if it were the identity."""
        return False

    def apply(self, x: Tensor, key: Key, context: Any) -> tuple[Tensor, Any]:
        return self.artifact.apply(x, key, context), context

    def identity(self) -> tuple[object, ...]:
        return ("applied", self.artifact)
