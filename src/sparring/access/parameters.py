"""Bounds of an attack's numeric parameters, declared as types of its fields and checked when it is made.

    steps: PositiveInt = 40
    step_size: PositiveFloat | None = None
    momentum: Annotated[float, Bounds(ge=0, lt=1)] = 0.5

`Attack`, `Shared` and the transfer techniques call `check_parameters(self)` when they are made, so an attack needs no
code for numbers that are checked one by one. Type checkers read the types as `int` and `float`.
"""

from __future__ import annotations

import inspect
import math
import operator
import re
from collections.abc import Iterable
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from fractions import Fraction
from functools import cache
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from ..errors import ConfigError, nearest
from ..goals import Climb, climbs
from ..scalars import plain_number

# what other libraries call a parameter
FOREIGN = {
    "steps": (
        "n_iter",
        "nb_iter",
        "iterations",
        "num_steps",
        "n_steps",
        "max_iter",
        "num_iterations",
        "max_iterations",
    ),
    "step_size": ("alpha", "eps_iter", "eps_step", "stepsize", "rel_stepsize", "lr"),
    "n_queries": ("max_queries", "n_iter", "steps", "max_iter", "queries"),
    "n_restarts": ("restarts", "num_random_init", "random_restarts"),
    "random_start": ("rand_init", "random_init", "num_random_init"),
}
RADIUS = ("eps", "epsilon", "epsilons", "norm", "eps_max")
LARGEST = 2**31  # no integer is as large
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
        if isinstance(value, bool):
            return False
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
    """Check every field of a dataclass whose type states `Bounds`; numbers of numpy and of tensors become Python's.

    Raises:
        ConfigError: for the first value that is out of bounds, with its name and what is accepted.
    """
    for name, (bounds, kind, optional) in declared_bounds(record.__class__).items():
        value = plain_number(getattr(record, name))
        object.__setattr__(record, name, value)
        _check(type(record).__name__, name, value, bounds, kind, optional)


def refuse_unknown(owner: type, named: Iterable[str]) -> None:
    """Raise ConfigError for the first of the names that is no parameter of `owner`, with the one that is meant."""
    parameters = inspect.signature(owner.__init__).parameters  # type: ignore[misc]
    if any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
        return
    for name in named:
        if name not in parameters:
            own = [one for one in parameters if one != "self"]
            meant = next((word for word, others in FOREIGN.items() if name.lower() in others and word in own), None)
            hint = f" Did you mean {meant!r}?" if meant else nearest(name, own)
            if name.lower() in RADIUS:
                hint = f" The radius is that of the ball: {owner.__name__}(Linf(8 / 255))."
            elif name.lower() == "targeted":
                hint = " A goal is what is targeted: run(attack, target, ClassifyAs(classes), images)."
            raise ConfigError(f"{owner.__name__} has no parameter {name!r} ({', '.join(own)}).{hint}")


def check_parameter(owner: type, name: str, value: object) -> None:
    """Check one value before the dataclass `owner` is made; ConfigError where it is out of the field's bounds."""
    if (found := declared_bounds(owner).get(name)) is not None:
        _check(owner.__name__, name, value, *found)


def _check(owner: str, name: str, value: object, bounds: Bounds, kind: type, optional: bool) -> None:
    for entry in value if isinstance(value, tuple) else (value,):
        if isinstance(entry, Integral) and abs(int(entry)) >= LARGEST:
            raise ConfigError(f"{owner} {name} is an integer of {LARGEST.bit_length()} bits or more; pass one of less")
        if not bounds.accepts(entry, kind) and not (value is None and optional):
            raise ConfigError(f"{owner} {name}={value!r}; pass {bounds.describe(kind)}")


def written_parameters(owner: type) -> dict[str, Any]:
    """Return name -> type of the fields of a dataclass that a text can give: numbers, words and losses."""
    try:
        hints = get_type_hints(owner)
    except NameError:
        return {}
    found = {field.name: hints[field.name] for field in fields(owner) if field.init} if is_dataclass(owner) else {}
    return {name: hint for name, hint in found.items() if all(map(_is_written, _options(hint)))}


def parse_parameter(what: str, text: str, hint: Any) -> Any:
    """Return the value of a text in that type; ConfigError, which begins with `what`, where it has none.

    Numbers may be fractions (2/255), a bool is true or false, an Enum or a loss is named in any case, none is None.
    """
    kinds = _options(hint)
    if NoneType in kinds and text.lower() == "none":
        return None
    number = _number(text)
    if int in kinds and number is not None and number.denominator == 1:
        return int(number)
    if float in kinds and number is not None:
        return float(number)
    if bool in kinds and text.lower() in ("true", "false"):
        return text.lower() == "true"
    named = {name: value for kind in kinds for name, value in _named(kind).items()}
    if _letters(text) in named:
        return named[_letters(text)]
    if str in kinds:
        return text
    wanted = [WRITTEN[kind] for kind in kinds if kind in WRITTEN] + (["one of " + ", ".join(named)] if named else [])
    raise ConfigError(f"{what}={text!r:.80} is not {' or '.join(wanted)}.{nearest(_letters(text), named)}".rstrip("."))


WRITTEN: dict[Any, str] = {int: "an integer", float: "a number", bool: "true or false", NoneType: "none"}


def _number(text: str) -> Fraction | None:
    """A finite number, or a fraction of two."""
    above, slash, below = text.partition("/")
    if any(len(part.strip()) > 40 or not NUMBER.fullmatch(part.strip()) for part in (above, below) if part or slash):
        return None
    if not above.strip():
        return None
    divisor = Fraction(below.strip()) if slash else Fraction(1)
    return Fraction(above.strip()) / divisor if divisor else None


NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)(e[+-]?[0-9]{1,2})?", re.ASCII | re.IGNORECASE)


def _options(hint: Any) -> tuple[Any, ...]:
    """The types that a hint admits, without what annotates them."""
    if get_origin(hint) is Annotated:
        return _options(get_args(hint)[0])
    if get_origin(hint) in (Union, UnionType):
        return tuple(kind for option in get_args(hint) for kind in _options(option))
    return (hint,)


def _is_written(kind: Any) -> bool:
    return kind in (int, float, bool, str, NoneType, Climb) or (isinstance(kind, type) and issubclass(kind, Enum))


def _named(kind: Any) -> dict[str, Any]:
    """What a text may name: members of an Enum, or losses that need no argument."""
    if isinstance(kind, type) and issubclass(kind, Enum):
        return {_letters(member.name): member for member in kind}
    return losses() if kind is Climb else {}


@cache
def losses() -> dict[str, Climb]:
    """Return the losses that need no argument, by their name in small letters."""
    kinds: Iterable[Any] = vars(climbs).values()
    plain = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Climb)]
    return {_letters(kind.__name__): kind() for kind in plain if _needs_nothing(kind)}


def _needs_nothing(kind: Any) -> bool:
    return not inspect.isabstract(kind) and all(
        parameter.default is not parameter.empty for parameter in inspect.signature(kind).parameters.values()
    )


def _letters(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


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
