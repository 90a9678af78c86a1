"""Construction of attacks from their names and the options of a command."""

from __future__ import annotations

import math
from dataclasses import MISSING, fields, replace
from typing import Any

from ... import attacks as room
from ...access import Attack, Gradients, Shared
from ...attacks import InputDiversity, ScaleInvariance, TransferAttack, TranslationInvariance, VarianceTuning
from ...attacks.spec import USER_FILE, AttackSpec, find_name, known_name, parse_attack, split_attacks
from ...audit.plan_file import parse_threats
from ...errors import ConfigError, ThreatError, nearest
from ...geometry import Ball, Union
from ...threats import BALLS, parse_threat_list
from ...zoo.user_attack import user_attack

TECHNIQUES: dict[str, Any] = {
    "vmi": VarianceTuning,
    "ti": TranslationInvariance,
    "si": ScaleInvariance,
    "di": InputDiversity,
}  # outermost first


def attack_specs(text: str) -> list[AttackSpec]:
    """Return the attacks of `pgd`, `pgd:steps=10,square` or `FILE.py:NAME,...`; ConfigError with the nearest name."""
    words = [word for word in split_attacks(text) if word]
    if not words:
        raise ConfigError(f"{text!r} names no attack; write one, as pgd, or several, as pgd,square")
    for word in words:
        name = known_name(word.partition(":")[0], room.shared_table)
        if name is not None and not USER_FILE.fullmatch(word):
            raise ConfigError(f"{name} makes one thing for many images; make it with `sparring fit {name}`")
    return [parse_attack(word, room.table, user_attack) for word in words]


def shared_attack_class(name: str) -> type[Shared[Any, Any, Any]]:
    """Return the class of an attack whose variable many images share."""
    single = known_name(name, room.table)
    if single is not None:
        raise ConfigError(f"{single} attacks each image by itself; run it with `sparring attack {single}`")
    return room.shared_table[find_name(name, room.shared_table)]


def parse_balls(spec: AttackSpec, threats: list[str]) -> list[Ball | None]:
    """The balls of the threats; [None] where the attack brings its own norm, their union where it takes several."""
    if threats:
        given = parse_threats(threats)
        found = [ball for one in given for ball in ([one] if isinstance(one, Ball) else one.balls())]
        return [Union(tuple(found))] if takes_several_balls(spec) else list(found)
    for parameter in fields(spec.kind) if spec.given is None else ():  # type: ignore[arg-type]
        free = parameter.default is MISSING and parameter.default_factory is MISSING
        if free and parameter.name in ("ball", "balls"):
            raise ThreatError(f"{spec.word} needs {what_is_missing(spec)}")
    return [None]


def what_is_missing(spec: AttackSpec) -> str:
    """Say what an attack without a ball needs: a norm where it searches the smallest example, else a radius."""
    if not takes_several_balls(spec) and not spec.kind.spends_radius:
        norms = [name for name, kind in BALLS.items() if issubclass(kind, spec.kind.norms)]
        return f"a norm; add --threat {(norms or ['Linf'])[0].lower()}, or with a radius, as linf:8/255"
    return "a radius; add --threat linf:8/255"


def takes_several_balls(spec: AttackSpec) -> bool:
    """Does the attack work within several balls at once?"""
    return spec.has_parameter("balls")


def make_attacks(text: str, threats: list[str], steps: int | None) -> list[Attack[Any, Any]]:
    """Return the attacks that were named, each in every ball of the threats."""
    specs = attack_specs(text)
    if steps is not None:
        specs = [with_steps(spec, steps) for spec in specs]
    twice = next((spec.word for place, spec in enumerate(specs) if spec in specs[:place]), None)
    if twice is not None:
        raise ConfigError(f"{twice} is named twice; give the two different parameters, as {twice}:n_restarts=3")
    return [make_attack(spec, ball) for spec in specs for ball in parse_balls(spec, threats)]


def make_attack(spec: AttackSpec, ball: Ball | None) -> Attack[Any, Any]:
    """Return the attack in that ball, or in all balls of a union at once."""
    if isinstance(ball, Union) and takes_several_balls(spec):
        return spec.make(None, balls=ball.balls)
    if ball is not None and math.isinf(ball.eps) and spec.kind.spends_radius:
        raise ThreatError(f"{spec.word} needs {what_is_missing(spec)}")
    return spec.make(ball)


def with_steps(spec: AttackSpec, steps: int) -> AttackSpec:
    """Return the spec with the number of --steps."""
    number = next((option for option in ("steps", "n_queries") if spec.has_parameter(option)), None)
    if number is None:
        raise ConfigError(f"{spec.word} has no --steps")
    if steps < 1:
        raise ConfigError(f"--steps {steps} is no number of steps; pass 1 or more")
    if number in spec.options:
        raise ConfigError(f"{spec.word} gives {number}, and so does --steps {steps}; leave one of the two out")
    given = None if spec.given is None else replace(spec.given, **{number: steps})  # type: ignore[type-var]
    return replace(spec, options={**spec.options, number: steps}, given=given)


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
    (spec, *others) = attack_specs(name)
    if others:
        raise ConfigError(f"--attack {name!r} names several attacks; a transfer is of one")
    if not issubclass(spec.kind._access, Gradients):
        raise ConfigError(f"{name} asks for no gradient; transfer needs a gradient attack, as mi-fgsm")
    chosen = [make() for technique, make in TECHNIQUES.items() if technique in techniques]
    made = make_attacks(name, threats, steps)
    return [TransferAttack(attack, *chosen) if chosen else attack for attack in made]
