"""Attacks in words: `pgd`, `PGD`, `c&w`, `square:n_queries=500`, `pgd:steps=10,step_size=2/255,n_restarts=3`.

A word has no radius: `AttackSpec.make(ball)` gives it one, and does the same for an attack that is an object already.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import Field, dataclass, field, fields, is_dataclass, replace
from typing import Any

from torch import Tensor

from ..access import Attack
from ..access.parameters import check_parameter, parse_parameter, written_parameters
from ..errors import ConfigError, ThreatError, nearest, user_code
from ..geometry import Ball
from .combine import Cascade, Restarts

Load = Callable[[str], Any]  # FILE.py:NAME -> what has that name
USER_FILE = re.compile(r"(?P<spec>.+\.py:[^:=,]+)(?::(?P<options>.*))?", re.DOTALL)
PARAMETER = re.compile(r"\s*[A-Za-z_][A-Za-z0-9_]*\s*=")
RADIUS_WORDS = ("eps", "epsilon", "radius", "norm", "ball", "p", "threat", "max_norm")
RESTARTS = "n_restarts"  # a parameter of every attack in words
OTHER_NAMES = {  # of the field, letters and digits only -> the table's
    "cw": "carlini-wagner", "cwl2": "carlini-wagner", "carliniwagnerl2": "carlini-wagner", "cwl0": "carlini-wagner-l0",
    "cwlinf": "carlini-wagner-linf", "ifgsm": "bim", "mim": "mi-fgsm", "autopgd": "apgd", "elasticnet": "ead",
    "aa": "autoattack", "hsja": "hopskipjump", "fabt": "fab-margin",
}  # fmt: skip


def split_attacks(text: str) -> list[str]:
    """Split `pgd:steps=10,n_restarts=3,square` at the commas between attacks, not between parameters."""
    words: list[str] = []
    for part in text.split(","):
        if words and PARAMETER.match(part) and ":" in words[-1]:
            words[-1] += f",{part.strip()}"
        else:
            words.append(part.strip())
    return words


def find_name(name: str, known: Mapping[str, type[Any]]) -> str:
    """Return the name in `known` that is meant, in any case, with or without hyphens; ConfigError with the nearest."""
    found = known_name(name, known)
    if found is None:
        raise ConfigError(f"there is no attack {name!r:.80} (there are {', '.join(known)}).{nearest(name, known)}")
    return found


def known_name(name: str, known: Mapping[str, type[Any]]) -> str | None:
    """Return the name in `known` that is meant; None where none is."""
    plain = _plain(name)
    names = {_plain(kind.__name__): one for one, kind in known.items()} | {_plain(one): one for one in known}
    names |= {short: one for short, one in OTHER_NAMES.items() if one in known}
    return names.get(plain) or names.get(plain.removesuffix("attack"))


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


@dataclass(frozen=True)
class AttackSpec:
    """An attack without its ball.

    Args:
        word: as it is recorded.
        kind: its class.
        options: the parameters that were given. written: the same, as they were written.
        n_restarts: how often it runs, each time with new random draws.
        given: an attack that is taken as it is, but for its ball.
    """

    word: str
    kind: type[Attack[Any, Any]]
    options: Mapping[str, Any] = field(default_factory=dict)
    written: str = ""
    n_restarts: int = 1
    given: Attack[Any, Any] | None = None

    @property
    def title(self) -> str:
        """The name of the attack in tables, with the parameters that were given."""
        if self.given is not None:
            name = describe(self.given)
        else:
            name = f"{self.kind.__name__}({self.written})" if self.written else self.kind.__name__
        return f"{name} x {self.n_restarts}" if self.n_restarts > 1 else name

    def has_parameter(self, name: str) -> bool:
        """Tell whether its class has a field of that name."""
        return name in {one.name for one in fields_of(self.kind)}

    def make(self, ball: Ball | None, **defaults: Any) -> Attack[Any, Any]:
        """Return the attack within `ball`, or within its own for None; `defaults` where no parameter was given.

        Raises: ThreatError where it does not work in that ball, ConfigError for parameters that do not go together.
        """
        if self.given is not None:
            attack = self.given if ball is None else with_ball(self.given, ball)
        else:
            arguments = ({} if ball is None else {"ball": ball}) | defaults | dict(self.options)
            with user_code(self.word) if USER_FILE.match(self.word) else nullcontext():
                attack = self.kind(**arguments)
        return attack if self.n_restarts == 1 else Restarts(attack, self.n_restarts)


def parse_attack(word: str, known: Mapping[str, type[Any]], load: Load | None = None) -> AttackSpec:
    """Return the attack that a word means, one of `known` or, where there is a `load`, a user's own `FILE.py:NAME`.

    Raises: ConfigError for an unknown name or parameter, with the nearest one, and for a value that does not fit.
    """
    user = USER_FILE.fullmatch(word)
    if user is not None:
        if load is None:
            raise ConfigError(f"{word}: a Python file is not run for an attack here; name one of {', '.join(known)}")
        base = spec_of(load(user["spec"]), user["spec"])
        return _with_options(base, word, user["spec"], user["options"] or "")
    name, _, options = word.partition(":")
    found = find_name(name, known)
    return _with_options(AttackSpec(found, known[found]), word, found, options)


def spec_of(attack: object, word: str | None = None) -> AttackSpec:
    """Return the spec of an attack object or class; ConfigError for anything else."""
    if isinstance(attack, Attack):
        return AttackSpec(word or describe(attack), type(attack), given=attack)
    if isinstance(attack, type) and issubclass(attack, Attack):
        return AttackSpec(word or attack.__name__, attack)
    named = "" if word is None else f"{word}: "
    raise ConfigError(
        f"{named}{attack!r:.80} is no attack; pass a name, a class or an object of sparring.attacks.Attack"
    )


def _with_options(base: AttackSpec, word: str, name: str, text: str) -> AttackSpec:
    """Return the spec with the parameters of `steps=10,n_restarts=3`."""
    allowed, options, written = written_parameters(base.kind), dict[str, Any](), list[str]()
    for part in text.split(",") if text else []:
        parameter, equals, value = (side.strip() for side in part.partition("="))
        known = [*allowed, *({RESTARTS} - set(allowed))]
        if not equals and parameter in known:
            raise ConfigError(f"{word!r}: {parameter} has no value; write {parameter}=VALUE")
        if parameter not in known and parameter.lower() in RADIUS_WORDS:
            raise ConfigError(
                f"{word!r}: {name} has no parameter {parameter!r}: norm and radius come from the threat, as --threat "
                "linf:8/255 (in Python the ball, as PGD(Linf(8 / 255)))"
            )
        if parameter not in known:
            hint = nearest(parameter, known)
            raise ConfigError(f"{word!r}: {name} has no parameter {parameter!r} (it has {', '.join(known)}).{hint}")
        if parameter in options:
            raise ConfigError(f"{word!r} gives {parameter} twice")
        options[parameter] = parse_parameter(f"{word!r}: {parameter}", value, allowed.get(parameter, int))
        written.append(f"{parameter}={value}")
        if parameter in allowed:
            check_parameter(base.kind, parameter, options[parameter])
    restarts = 1 if RESTARTS in allowed else options.pop(RESTARTS, 1)
    if restarts < 1:
        raise ConfigError(f"{word!r}: {RESTARTS}={restarts}; pass an integer >= 1")
    if options and base.given is not None:
        base = replace(base, given=replace(base.given, **options))  # type: ignore[type-var]
    recorded = ",".join(written)
    shown = ", ".join(one for one in written if RESTARTS in allowed or not one.startswith(f"{RESTARTS}="))
    return replace(
        base,
        word=f"{name}:{recorded}" if recorded else name,
        options=options,
        written=shown,
        n_restarts=restarts,
    )


def fields_of(attack: Any) -> tuple[Field[Any], ...]:
    """Return the fields of an attack or a class; none where it is no dataclass."""
    return fields(attack) if is_dataclass(attack) else ()


def describe(attack: Attack[Any, Any]) -> str:
    """Return the attack's class with its parameters that are not the default, its ball left out."""
    name = type(attack).__name__
    given = {one.name: (getattr(attack, one.name), one.default) for one in fields_of(attack) if one.init}
    shown = [
        f"{parameter}={_shown(value)}"
        for parameter, (value, default) in given.items()
        if not isinstance(value, Ball) and (isinstance(value, Tensor) or value != default)
    ]
    return f"{name}({', '.join(shown)})" if shown else name


def _shown(value: object) -> str:
    if isinstance(value, Attack):
        return describe(value)
    if isinstance(value, Tensor):
        return f"tensor{tuple(value.shape)}"
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))[:80]


def with_ball(attack: Attack[Any, Any], ball: Ball) -> Attack[Any, Any]:
    """Return the attack, and the attacks inside it, within another ball; ThreatError where it has no such field."""
    changed = _with_ball(attack, ball)
    if changed.ball != ball:
        raise ThreatError(f"{attack.name} works in {attack.ball} alone; give it a field `ball` to audit it on {ball}")
    return changed


def _with_ball(attack: Attack[Any, Any], ball: Ball) -> Attack[Any, Any]:
    if isinstance(attack, Cascade):
        return Cascade(*[_with_ball(one, ball) for one in attack.attacks])
    changes: dict[str, Any] = {}
    for name in [one.name for one in fields_of(attack) if one.init]:
        value = getattr(attack, name)
        if name == "ball":
            changes[name] = ball
        elif isinstance(value, Attack):
            changes[name] = _with_ball(value, ball)
        elif isinstance(value, Sequence) and any(isinstance(one, Attack) for one in value):
            changes[name] = tuple(_with_ball(one, ball) for one in value)
    try:
        return replace(attack, **changes) if changes else attack  # type: ignore[type-var]
    except TypeError as error:  # a constructor of its own
        raise ConfigError(f"{attack.name} cannot be made again with another ball: {error}") from error
