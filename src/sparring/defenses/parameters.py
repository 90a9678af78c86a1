"""Checks of the parameters of stages, layers, detectors and fits."""

from __future__ import annotations

import math

from ..errors import ConfigError


def check_whole(stage: object, word: str, value: object, low: int, high: int | None = None) -> None:
    """Raise ConfigError where a parameter is no int from `low` to `high`."""
    if type(value) is not int or value < low or (high is not None and value > high):
        wanted = f"an int >= {low}" if high is None else f"an int from {low} to {high}"
        raise ConfigError(f"{type(stage).__name__} {word}={value!r}; pass {wanted}")


def check_number(
    stage: object, word: str, value: object, low: float, high: float = math.inf, *, above: bool = False
) -> None:
    """Raise ConfigError where a parameter is no finite number from `low` (or `above` it) to `high`."""
    fits = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not fits or not (value > low if above else value >= low) or not value <= high:  # type: ignore[operator]
        least = f"above {low:g}" if above else f">= {low:g}"
        wanted = f"a number {least}" + ("" if high == math.inf else f" and <= {high:g}")
        raise ConfigError(f"{type(stage).__name__} {word}={value!r}; pass {wanted}")
