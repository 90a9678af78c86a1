"""The artifact of a patch attack: a patch pasted at a random place (Brown et al. 2017, arXiv:1712.09665)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from torch import Tensor

from ...geometry import Ball, Linf
from ...random import Key
from ...transforms import PlacePatch, Scene
from .artifact import Artifact


@dataclass(frozen=True)
class Patch(Artifact):
    """Images with the patch at a random place: within the box of the context, where there is one, else anywhere.

        outcome = run(PGD(Linf(1.0)), OverScenes(...), FoolScenes(...), start)
        Patch(outcome.examples[0]).save("patch.safetensors")

    Args:
        image: (C, h, w) in [0, 1].

    Raises ValueError for an image that is none.
    """

    image: Tensor

    kind: ClassVar[str] = "patch"

    def __post_init__(self) -> None:
        image = self.image
        if not (image.ndim == 3 and image.is_floating_point() and image.numel()):
            raise ValueError(f"a patch is a float image (C, h, w), not {image.dtype} {tuple(image.shape)}")
        if not bool(((image >= 0) & (image <= 1)).all()):
            raise ValueError("the values of a patch lie in [0, 1]")

    @property
    def ball(self) -> Ball:
        """Any value of the pixels under the patch: Linf of radius 1."""
        return Linf(1.0)

    @property
    def stochastic(self) -> bool:
        return True

    @property
    def shape(self) -> tuple[int | None, ...]:
        return (len(self.image), None, None)

    def perturb(self, x: Tensor, key: Key, context: Any) -> Tensor:
        scene = Scene(images=x, boxes=getattr(context, "boxes", None))
        return PlacePatch().apply(self.image.to(x).expand(len(x), -1, -1, -1), key, scene)[0]

    def tensors(self) -> dict[str, Tensor]:
        return {"image": self.image}

    @classmethod
    def from_tensors(cls, ball: Ball, tensors: dict[str, Tensor], settings: Mapping[str, Any]) -> Self:
        return cls(tensors["image"])
