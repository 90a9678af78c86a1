"""Construction of attacks from their names and the options of a command."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, TypeVar

from ... import attacks as room
from ...access import Attack, Gradients, Shared
from ...attacks import InputDiversity, ScaleInvariance, TransferAttack, TranslationInvariance, VarianceTuning
from ...errors import ConfigError, ThreatError, nearest
from ...geometry import Ball, Union
from ...threats import parse_threat_list

K = TypeVar("K")
TECHNIQUES: dict[str, Any] = {
    "vmi": VarianceTuning,
    "ti": TranslationInvariance,
    "si": ScaleInvariance,
    "di": InputDiversity,
}  # outermost first


def attack_class(name: str) -> type[Attack[Any, Any]]:
    """Return the attack's class; ConfigError with the nearest name."""
    if name in room.shared_table:
        raise ConfigError(f"{name} makes one thing for many images; make it with `sparring fit {name}`")
    return _look_up(name, room.table)


def shared_attack_class(name: str) -> type[Shared[Any, Any, Any]]:
    """Return the class of an attack whose variable many images share."""
    if name in room.table:
        raise ConfigError(f"{name} attacks each image by itself; run it with `sparring attack {name}`")
    return _look_up(name, room.shared_table)


def _look_up(name: str, known: Mapping[str, K]) -> K:
    if name not in known:
        raise ConfigError(f"there is no attack {name!r} (there are {', '.join(known)}).{nearest(name, known)}")
    return known[name]


def parse_balls(name: str, threats: list[str]) -> list[Ball | None]:
    """The balls of the threats; [None] where the attack brings its own norm, their union where it takes several."""
    kind = attack_class(name)
    if threats:
        found = [ball for threat in parse_threat_list(threats) for ball in threat.balls()]
        return [Union(tuple(found))] if takes_several_balls(kind) else list(found)
    for parameter in fields(kind):  # type: ignore[arg-type]
        free = parameter.default is MISSING and parameter.default_factory is MISSING
        if free and parameter.name in ("ball", "balls"):
            raise ThreatError(f"{name} needs a radius; add --threat linf:8/255")
    return [None]


def takes_several_balls(kind: type[Attack[Any, Any]]) -> bool:
    """Does the attack work within several balls at once?"""
    return "balls" in {parameter.name for parameter in fields(kind)}  # type: ignore[arg-type]


def make_attack(name: str, ball: Ball | None, steps: int | None) -> Attack[Any, Any]:
    """Return the attack with what was asked of it."""
    kind = attack_class(name)
    options: dict[str, Any] = {} if ball is None else {"ball": ball}
    if isinstance(ball, Union):
        options = {"balls": ball.balls}
    if steps is not None:
        known = {parameter.name for parameter in fields(kind)}  # type: ignore[arg-type]
        number = next((option for option in ("steps", "n_queries") if option in known), None)
        if number is None:
            raise ConfigError(f"{name} has no --steps")
        if steps < 1:
            raise ConfigError(f"--steps {steps} is no number of steps; pass 1 or more")
        options[number] = steps
    return kind(**options)


def make_shared_attack(
    name: str, threats: list[str], epochs: int | None, batch_size: int | None
) -> Shared[Any, Any, Any]:
    """Return the attack of that name within the one ball that was given."""
    kind = shared_attack_class(name)
    found = [ball for threat in parse_threat_list(threats) for ball in threat.balls()]
    if len(found) != 1:
        given = "none is given" if not found else f"{len(found)} are given"
        raise ThreatError(f"{name} is made for one radius, and {given}; pass one, as --threat linf:10/255")
    numbers = {"epochs": epochs, "batch_size": batch_size}
    options: dict[str, Any] = {option: number for option, number in numbers.items() if number is not None}
    return kind(**(options | {"ball": found[0]}))


def make_transfer_attacks(
    name: str, threats: list[str], steps: int | None, techniques: list[str]
) -> list[Attack[Gradients, Any]]:
    """Make the gradient attack at each radius, with the techniques that help transfer."""
    unknown = [technique for technique in techniques if technique not in TECHNIQUES]
    if unknown:
        known = ", ".join(TECHNIQUES)
        raise ConfigError(f"there is no technique {unknown[0]!r} ({known}).{nearest(unknown[0], TECHNIQUES)}")
    if not issubclass(attack_class(name)._access, Gradients):
        raise ConfigError(f"{name} asks for no gradient; transfer needs a gradient attack, as mi-fgsm")
    chosen = [make() for technique, make in TECHNIQUES.items() if technique in techniques]
    made = [make_attack(name, ball, steps) for ball in parse_balls(name, threats)]
    return [TransferAttack(attack, *chosen) if chosen else attack for attack in made]
