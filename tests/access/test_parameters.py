"""Numbers out of the bounds that a field's type states are refused when the attack is made."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import pytest

from sparring.access import Bounds, DecayFactor, PositiveFloat, PositiveInt, check_parameters
from sparring.errors import ConfigError


@dataclass(frozen=True)
class Numbers:
    steps: PositiveInt = 10
    step_size: PositiveFloat | None = None
    momentum: DecayFactor = 0.5
    sizes: tuple[PositiveFloat, ...] | None = None
    width: Annotated[int, Bounds(ge=1, le=256)] = 8
    note: str = "unchecked"

    def __post_init__(self) -> None:
        check_parameters(self)


@dataclass(frozen=True)
class MoreNumbers(Numbers):
    steps: PositiveInt = 20
    alpha: PositiveFloat = 1.0


@pytest.mark.parametrize(
    "values",
    [
        {"steps": 1, "momentum": 0},
        {"steps": np.int64(3), "step_size": np.float32(0.5)},
        {"step_size": 1, "sizes": (0.1, 2)},
        {"sizes": (), "width": 256},
    ],
)
def test_numbers_within_bounds_are_accepted(values: dict[str, Any]) -> None:
    assert Numbers(**values) == Numbers(**values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"steps": 0}, "Numbers steps=0; pass an integer >= 1"),
        ({"steps": 2**31}, "Numbers steps is an integer of 32 bits or more"),
        ({"steps": -(10**5000)}, "Numbers steps is an integer of 32 bits or more"),
        ({"steps": 2.0}, "Numbers steps=2.0; pass an integer >= 1"),
        ({"steps": "3"}, "Numbers steps='3'; pass an integer"),
        ({"steps": None}, "Numbers steps=None; pass an integer"),
        ({"step_size": 0.0}, "Numbers step_size=0.0; pass a finite number > 0"),
        ({"step_size": math.nan}, "Numbers step_size=nan; pass a finite number > 0"),
        ({"step_size": math.inf}, "Numbers step_size=inf; pass a finite number > 0"),
        ({"momentum": 1}, "Numbers momentum=1; pass a finite number >= 0 and < 1"),
        ({"sizes": (0.1, -1.0)}, r"Numbers sizes=\(0.1, -1.0\); pass a finite number > 0"),
        ({"width": 257}, "Numbers width=257; pass an integer >= 1 and <= 256"),
    ],
)
def test_numbers_out_of_bounds_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Numbers(**values)


def test_subclasses_check_their_own_and_inherited_fields() -> None:
    with pytest.raises(ConfigError, match="MoreNumbers steps=0"):
        MoreNumbers(steps=0)
    with pytest.raises(ConfigError, match="MoreNumbers alpha=-1"):
        MoreNumbers(alpha=-1)
    with pytest.raises(ConfigError, match="MoreNumbers step_size=-1"):
        MoreNumbers(step_size=-1)
