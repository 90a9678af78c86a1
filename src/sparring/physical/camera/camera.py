"""`Camera`: the parts of a camera in the order that light and numbers take, each in its own colour space."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Self

from torch import Tensor

from ...errors import ConfigError
from ...random import Key
from ...tasks import Task
from ..colour import Light, convert
from ..stage import PhysicalStage, SampledTransform, check_images
from .resize import Resize

Part = PhysicalStage[Any]
ORDER = ("illumination", "lens", "sensor", "mosaic", "balance", "tone", "noise", "resize", "codec")


@dataclass(frozen=True)
class CameraParameters:
    """The parameters of each part; None for a part that is not there."""

    illumination: Any = None
    lens: Any = None
    sensor: Any = None
    mosaic: Any = None
    balance: Any = None
    tone: Any = None
    noise: Any = None
    resize: Any = None
    codec: Any = None


@dataclass(frozen=True, kw_only=True)
class Camera(SampledTransform[CameraParameters]):
    """Images (B, C, H, W) in sRGB as a camera captures them, in sRGB; a part of None is left out.

    The order is fixed: in linear light illumination, lens, sensor, mosaic (with its demosaicing) and balance
    (exposure and white), then in sRGB tone, noise, size and codec.

        Camera(illumination=Exposure(), lens=GaussianBlur(), noise=GaussianNoise(), codec=DifferentiableJPEG())

    Raises: ConfigError.
    """

    illumination: Part | None = None
    lens: Part | None = None
    sensor: Part | None = None
    mosaic: Part | None = None
    balance: Part | None = None
    tone: Part | None = None
    noise: Part | None = None
    resize: Resize | None = None
    codec: Part | None = None

    def __post_init__(self) -> None:
        for name in ORDER:
            part: Any = getattr(self, name)
            if part is not None and not isinstance(part, PhysicalStage):
                raise ConfigError(f"Camera {name}={part!r:.80}; pass a stage of sparring.physical.camera, or None")

    @property
    def stages(self) -> tuple[Part, ...]:
        """The parts that are there, in order."""
        return tuple(part for name in ORDER if (part := getattr(self, name)) is not None)

    @property
    def stochastic(self) -> bool:
        return any(part.stochastic for part in self.stages)

    @property
    def exact_gradient(self) -> bool:
        return all(part.exact_gradient for part in self.stages)

    @property
    def tasks(self) -> tuple[type[Task], ...] | None:
        return None if self.resize is None else self.resize.tasks

    def move(self, context: Any, height: int, width: int) -> Any:
        return context if self.resize is None else self.resize.move(context, height, width)

    def at_severity(self, severity: float) -> Self:
        """Return this camera with another severity of all parts."""
        parts = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: part and part.at_severity(severity) for name, part in parts.items()})

    def sample(self, key: Key, like: Tensor, context: Any = None) -> CameraParameters:
        drawn = {
            name: None if part is None else part.sample(key.reseeded(number), like, context)
            for number, (name, part) in enumerate((name, getattr(self, name)) for name in ORDER)
        }
        return CameraParameters(**drawn)

    def apply_parameters(self, x: Tensor, parameters: CameraParameters, context: Any = None) -> Tensor:
        return self.capture(x, Light.SRGB, parameters, context)

    def capture(self, x: Tensor, light: Light, parameters: CameraParameters, context: Any = None) -> Tensor:
        """Return images (B, C, H, W), which are in `light`, as they are stored, in sRGB."""
        check_images(x, self.name)
        for name in ORDER:
            part = getattr(self, name)
            if part is not None:
                x = part.apply_parameters(convert(x, light, part.light), getattr(parameters, name), context)
                light = part.light
        return convert(x, light, Light.SRGB).clamp(0, 1)
