"""Bounds of an attack's numeric parameters, declared as types of its fields and checked when it is made.

    steps: PositiveInt = 40
    step_size: PositiveFloat | None = None
    momentum: Annotated[float, Bounds(ge=0, lt=1)] = 0.5

`Attack`, `Shared` and the transfer techniques call `check_parameters(self)` when they are made, so an attack needs no
code for numbers that are checked one by one. Type checkers read the types as `int` and `float`.
"""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from functools import cache
from numbers import Integral, Real
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from ..errors import ConfigError

COMPARISONS = {"gt": (">", operator.gt), "ge": (">=", operator.ge), "lt": ("<", operator.lt), "le": ("<=", operator.le)}


@dataclass(frozen=True)
class Bounds:
    """The numbers that a parameter accepts: finite, greater than `gt`, at least `ge`, less than `lt`, at most `le`.

    It is the metadata of an `Annotated[int, ...]`, which accepts integers alone, or of an `Annotated[float, ...]`. A
    bound of None is no bound. In a tuple every entry is checked, and `| None` admits None.
    """

    gt: float | None = None
    ge: float | None = None
    lt: float | None = None
    le: float | None = None

    def accepts(self, value: object, kind: type) -> bool:
        """Tell whether `value` is a finite number of that kind (int or float) within the bounds."""
        if not isinstance(value, Integral) and (kind is int or not isinstance(value, Real) or not math.isfinite(value)):
            return False
        return all(compare(value, bound) for _, compare, bound in self._given())

    def describe(self, kind: type) -> str:
        """Say which numbers are accepted, as in "an integer >= 1" or "a finite number > 0 and <= 1"."""
        comparisons = " and ".join(f"{sign} {bound:g}" for sign, _, bound in self._given())
        return f"{'an integer' if kind is int else 'a finite number'} {comparisons}".rstrip()

    def _given(self) -> list[tuple[str, Any, float]]:
        bounds = ((*COMPARISONS[name], getattr(self, name)) for name in COMPARISONS)
        return [(sign, compare, bound) for sign, compare, bound in bounds if bound is not None]


PositiveInt = Annotated[int, Bounds(ge=1)]
NonNegativeInt = Annotated[int, Bounds(ge=0)]
PositiveFloat = Annotated[float, Bounds(gt=0)]
NonNegativeFloat = Annotated[float, Bounds(ge=0)]
Probability = Annotated[float, Bounds(ge=0, le=1)]
PositiveFraction = Annotated[float, Bounds(gt=0, le=1)]  # (0, 1]
DecayFactor = Annotated[float, Bounds(ge=0, lt=1)]  # [0, 1): the share of an average that is kept
OpenFraction = Annotated[float, Bounds(gt=0, lt=1)]  # (0, 1)


def check_parameters(record: Any) -> None:
    """Check every field of a dataclass whose type states `Bounds`.

    Raises:
        ConfigError: for the first value that is out of bounds, with its name and what is accepted.
    """
    for name, (bounds, kind, optional) in declared_bounds(record.__class__).items():
        value = getattr(record, name)
        for entry in value if isinstance(value, tuple) else (value,):
            if not bounds.accepts(entry, kind) and not (value is None and optional):
                raise ConfigError(f"{type(record).__name__} {name}={value!r}; pass {bounds.describe(kind)}")


@cache
def declared_bounds(owner: type) -> dict[str, tuple[Bounds, type, bool]]:
    """Return the bounds of each field of a dataclass whose type states any, int or float, and whether None will do.

    A class is not checked if its annotations name types that cannot be imported when it runs.
    """
    try:
        hints = get_type_hints(owner, include_extras=True)
    except NameError:
        return {}
    found = {name: _bounds_in(hint) for name, hint in hints.items()}
    return {
        name: (*bounds, type(None) in get_args(hints[name])) for name, bounds in found.items() if bounds is not None
    }


def _bounds_in(hint: Any) -> tuple[Bounds, type] | None:
    """The bounds in a type, also inside an optional type or a tuple."""
    arguments = get_args(hint)
    if get_origin(hint) is Annotated:
        return next(((extra, arguments[0]) for extra in arguments[1:] if isinstance(extra, Bounds)), None)
    return next((bounds for argument in arguments if (bounds := _bounds_in(argument)) is not None), None)
