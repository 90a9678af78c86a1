"""The size in which a camera hands out its images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn.functional import interpolate

from ...access.parameters import PositiveInt
from ...random import Key
from ...tasks import Classification, Task, Verification
from ...transforms.scene import moved
from ..stage import ANY_FAMILY, PhysicalStage, check_length


@dataclass(frozen=True)
class Nothing:
    """The parameters of a stage that has none."""


@dataclass(frozen=True, kw_only=True)
class Resize(PhysicalStage[Nothing]):
    """Images (B, C, H, W) in sRGB in another size, bilinear with antialiasing; boxes and landmarks move along.

    It belongs to every family, and severity does not change it.

    Args:
        size: height and width of the result.
    """

    family: str = ANY_FAMILY
    size: tuple[PositiveInt, PositiveInt]

    def __post_init__(self) -> None:
        super().__post_init__()
        check_length(self, "size", self.size, 2)

    @property
    def tasks(self) -> tuple[type[Task], ...] | None:
        return Classification, Verification

    def sample(self, key: Key, like: Tensor, context: object = None) -> Nothing:
        return Nothing()

    def apply_parameters(self, x: Tensor, parameters: Nothing, context: object = None) -> Tensor:
        return interpolate(x, self.size, mode="bilinear", antialias=True)

    def move(self, context: Any, height: int, width: int) -> Any:
        factor = (self.size[1] / width, self.size[0] / height)
        return moved(context, factor, (0.0, 0.0))
