"""Bounds of numeric options, declared as metadata of their types and checked before the command begins."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_args, get_type_hints

from ...errors import ConfigError

LARGEST = 2**31 - 1


@dataclass(frozen=True)
class Bounds:
    """The least and the largest number that an option takes: `Annotated[int, typer.Option(), Bounds(1)]`."""

    low: float = -LARGEST
    high: float = LARGEST


ANY = Bounds()


def check_numbers(command: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Raise ConfigError for a number that is out of the bounds of its option, or that no option takes."""
    numbers = {name: one for name, one in options.items() if type(one) in (int, float)}
    hints = get_type_hints(command, include_extras=True) if numbers else {}
    for name, number in numbers.items():
        bounds = next((one for one in get_args(hints.get(name)) if isinstance(one, Bounds)), ANY)
        option = f"--{name.replace('_', '-')}"
        if math.isnan(number) or not bounds.low <= number <= bounds.high:
            raise ConfigError(f"{option} {number:.13g} is no number from {bounds.low:.10g} to {bounds.high:.10g}")
