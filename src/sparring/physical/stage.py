"""`PhysicalStage`: one step of print, place or capture, whose random parameters are drawn apart from its application.

    parameters = stage.sample(key, images)                # a frozen record of tensors, one row per image
    captured = stage.apply_parameters(images, parameters)    # a function of its arguments and of nothing else

`apply(x, key, context)`, which a pipeline calls, does one after the other. The same parameters give the same result, so
that an attacked and a clean image can be seen through the same camera.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Generic, Self, TypeVar

import torch
from torch import Tensor

from ..access.parameters import NonNegativeFloat, check_parameters
from ..errors import ConfigError, InputError
from ..random import Key
from ..transforms import Transform
from .colour import Light, convert

P = TypeVar("P")
ANY_FAMILY = "any"  # of a stage that models no uncertainty, as a change of size


class SampledTransform(Transform, Generic[P]):
    """Base class of transforms whose random parameters are drawn apart from their application.

    `apply` takes and returns sRGB in [0, 1]; `apply_parameters` takes and returns values in the stage's own `light`.
    """

    light: ClassVar[Light] = Light.SRGB

    @abstractmethod
    def sample(self, key: Key, like: Tensor, context: Any = None) -> P:
        """Draw the parameters of each row: a frozen record of tensors with one row per entry of `key`.

        `like` is an input (B, C, H, W) as it will be transformed, of which only shape, dtype and device count.
        """

    @abstractmethod
    def apply_parameters(self, x: Tensor, parameters: P, context: Any = None) -> Tensor:
        """Return x (B, C, H, W), in the stage's `light`, transformed with these parameters."""

    def move(self, context: Any, height: int, width: int) -> Any:
        """Return the context of images of that size with its places where they are after the stage."""
        return context

    def apply(self, x: Tensor, key: Key, context: Any) -> tuple[Tensor, Any]:
        check_images(x, self.name)
        parameters = self.sample(key, x, context)
        made = self.apply_parameters(convert(x, Light.SRGB, self.light), parameters, context)
        return convert(made, self.light, Light.SRGB).clamp(0, 1), self.move(context, *x.shape[2:])


@dataclass(frozen=True, kw_only=True)
class PhysicalStage(SampledTransform[P]):
    """Base class of the stages of the physical chain: printers, placements, and the parts of a camera.

    Args:
        family: which simulator the stage is part of. What was optimised through one family is judged through another
            (`check_held_out`); "any" is a stage that models no uncertainty and belongs to all.
        severity: factor of all deviations: at 0 the stage leaves colours, light and shape as they are, at 1 its
            parameters are drawn in the stated ranges, at 1.5 in ranges half as wide again.
    """

    ranges: ClassVar[tuple[str, ...]] = ()  # names of the parameters that are a lower and an upper end

    family: str
    severity: NonNegativeFloat = 1.0

    def __post_init__(self) -> None:
        check_parameters(self)
        given: Any = self.family
        if not isinstance(given, str) or not given:
            raise ConfigError(f"{self.name} family={given!r:.80}; pass a word, as 'optimization' or 'held-out'")
        for word in self.ranges:
            check_range(self, word, getattr(self, word))

    def at_severity(self, severity: float) -> Self:
        """Return this stage with another severity."""
        return replace(self, severity=severity)

    def mechanism(self) -> str:
        """Return the name of what is modelled: two stages with the same mechanism belong to one family, by any name."""
        return type(self).__name__


def check_images(x: Tensor, name: str, channels: tuple[int, ...] = (1, 3)) -> None:
    """Raise InputError where x is no batch of images (B, C, H, W) with one of these numbers of channels."""
    if x.ndim != 4 or x.shape[1] not in channels:
        wanted = " or ".join(map(str, channels))
        raise InputError(f"{name} takes images (N, {wanted}, H, W); got {tuple(x.shape)}")


def check_range(stage: Transform, word: str, given: tuple[float, float]) -> None:
    """Raise ConfigError where a range is not two numbers in order."""
    value: Any = given
    if not isinstance(value, tuple) or len(value) != 2 or not value[0] <= value[1]:
        raise ConfigError(f"{stage.name} {word}={value!r:.80}; pass the lower and the upper end: (low, high)")


def check_length(owner: object, word: str, given: object, length: int) -> None:
    """Raise ConfigError where a parameter is no tuple of that many values."""
    if not isinstance(given, tuple) or len(given) != length:
        raise ConfigError(f"{type(owner).__name__} {word}={given!r:.80}; pass a tuple of {length} numbers")


def check_choice(owner: object, word: str, given: object, options: Iterable[str]) -> None:
    """Raise ConfigError where a parameter is none of the words."""
    if given not in tuple(options):
        raise ConfigError(f"{type(owner).__name__} {word}={given!r:.80}; pass one of {', '.join(options)}")


def around(key: Key, stream: str, amount: float, like: Tensor, shape: tuple[int, ...] = ()) -> Tensor:
    """Draw values (B, *shape) uniform in [-amount, amount], in the dtype of `like`."""
    return (key.uniform(stream, shape, dtype=like.dtype) * 2 - 1) * amount


def between(key: Key, stream: str, ends: tuple[float, float], like: Tensor, shape: tuple[int, ...] = ()) -> Tensor:
    """Draw values (B, *shape) uniform between two ends, in the dtype of `like`."""
    low, high = ends
    return low + (high - low) * key.uniform(stream, shape, dtype=like.dtype)


def per_image(values: Tensor) -> Tensor:
    """Return values (B,) or (B, C) so that they broadcast over images (B, C, H, W)."""
    return values.view(len(values), -1, 1, 1)


def differentiated(x: Tensor) -> bool:
    """Tell whether a gradient is being recorded for x."""
    return torch.is_grad_enabled() and x.requires_grad
