"""The training plan as a TOML file, checked completely before a model or an image is read.

Models stay names here: the caller passes a function that loads them as targets.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, Field, fields, replace
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, BeforeValidator, ConfigDict, TypeAdapter, ValidationError
from pydantic import Field as Bounds

from ...access import Attack
from ...attacks import table as attacks
from ...attacks.spec import USER_FILE, known_name, spec_of
from ...errors import ConfigError, SparringError, ThreatError, nearest
from ...geometry import Ball
from ...storage import describe_invalid, read_toml
from ...targets import Target
from ...threats import parse_threat
from ...zoo.spec_paths import with_paths
from .adversary import Adversary
from .certified import CertifiedObjective
from .config import Count, TrainingConfig
from .config import Validation as Watched
from .devices import Devices
from .objective import Objective
from .table import table as objectives

Load = Callable[[str], Target[Any]]
LoadAttack = Callable[[str], Any]
PLAIN = (bool, int, float, str, NoneType)


class PlanTable(BaseModel):
    """A table of a training plan; `make_training_plan` reports what does not fit."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class NamedTable(PlanTable):
    """A table that names something; its other keys are the fields of that thing."""

    model_config = ConfigDict(frozen=True, extra="allow")
    name: str

    @property
    def options(self) -> dict[str, Any]:
        """Return the other keys with their values."""
        return dict(self.model_extra or {})


class NamedAttack(NamedTable):
    """A table for an attack and its threat; several threats for attacks on several balls at once."""

    threat: str | tuple[str, ...] | None = None


def as_list(value: object) -> object:
    """Return a list of one table where a table may stand for a list."""
    return [value] if isinstance(value, dict) else value


Attacks = Annotated[tuple[NamedAttack, ...], BeforeValidator(as_list)]


class DataTable(PlanTable):
    """The table [data]: the training images."""

    train: str
    limit: Count | None = None
    scale: Annotated[float, Bounds(gt=0)] | None = None  # the value of white, as --scale
    labels: str | None = None  # a table of labels, as --labels
    class_names: str | None = None  # a file of class names, as --class-names


class AdversaryTable(PlanTable):
    """The table [adversary]: the fields of `Adversary` beside its attacks."""

    batch_norm: Literal["eval", "train"] = "eval"
    keep: Literal["last", "highest_loss"] = "last"
    eps_schedule: tuple[tuple[float, float], ...] = ()
    steps_schedule: tuple[tuple[float, int], ...] = ()
    sources: tuple[str, ...] = ()


class ValidationTable(Watched):
    """The table [validation], with the attacks that it measures with; by default one per ball."""

    attack: Attacks = ()


class TrainingPlan(PlanTable):
    """A training as its plan describes it: everything that decides its result.

    `weights`: "fresh" resets every layer under the seed, "ibp" then draws those of linear and convolutional layers by
    `ibp_initialization`, "given" goes on from the model's own. `attack` is what the model trains against; `adversary`
    says how.
    """

    model: Annotated[str, Bounds(min_length=1)]
    weights: Literal["fresh", "ibp", "given"] = "fresh"
    data: DataTable
    objective: NamedTable
    attack: Attacks = ()
    adversary: AdversaryTable = Bounds(default_factory=AdversaryTable)
    training: TrainingConfig = Bounds(default_factory=TrainingConfig)
    validation: ValidationTable = Bounds(default_factory=ValidationTable)
    devices: Devices = Bounds(default_factory=Devices)

    def make_objective(self, load: Load) -> Objective:
        """Return the objective, with the models that it names."""
        return make_objective(self.objective, load, "objective")

    def make_adversary(self, load: Load, load_attack: LoadAttack | None = None) -> Adversary:
        """Return the adversary, with the models that it names; without `load_attack` no attacks of FILE.py:NAME."""
        against = self.adversary
        return Adversary(
            make_attacks(self.attack, "attack", load_attack),
            batch_norm=against.batch_norm,
            keep=against.keep,
            eps_schedule=against.eps_schedule,
            steps_schedule=against.steps_schedule,
            sources=tuple(load(source) for source in against.sources),
        )

    def make_validation(
        self, load_attack: LoadAttack | None = None
    ) -> tuple[Watched, tuple[Attack[Any, Any], ...] | None]:
        """Return the validation, and the attacks that the plan names; None where it names none."""
        chosen = make_attacks(self.validation.attack, "validation.attack", load_attack)
        for attack in chosen:
            attack.ball.bounded(attack.name)
        return Watched(**self.validation.model_dump(exclude={"attack"})), chosen or None


def read_training_plan(path: Path) -> TrainingPlan:
    """Read the plan of a training from a TOML file; paths in it are relative to its folder, or to its key `folder`.

    Raises: ConfigError or ThreatError, which name the file, the field, its value and what was expected.
    """
    table = read_toml(path, "a training plan")
    folder = table.pop("folder", None)
    if folder is not None and not (isinstance(folder, str) and Path(folder).is_absolute()):
        raise ConfigError(f"{path}: folder={folder!r:.80} is no absolute path; leave it out for the plan's own folder")
    table = {key: with_paths(value, path.parent if folder is None else Path(folder)) for key, value in table.items()}
    try:
        return make_training_plan(table)
    except (ConfigError, ThreatError) as error:
        raise type(error)(f"{path}: {error}") from error


def make_training_plan(table: Mapping[str, Any]) -> TrainingPlan:
    """Return the plan of a table; ConfigError where something in it is unknown or not of its type."""
    refuse_unknown(TrainingPlan, table, "")
    try:
        plan = TrainingPlan.model_validate(table)
    except ValidationError as error:
        raise ConfigError(describe_invalid(error)) from error
    if not names_models(plan.objective, "objective"):
        plan.make_objective(_unasked)
    plan.make_validation()
    Adversary(
        make_attacks(plan.attack, "attack"),
        eps_schedule=plan.adversary.eps_schedule,
        steps_schedule=plan.adversary.steps_schedule,
    )
    return plan


def refuse_unknown(kind: type[BaseModel], table: Mapping[str, Any], place: str) -> None:
    """Raise ConfigError with the nearest name for a key that no table of the plan has."""
    if kind.model_config.get("extra") == "allow":
        return
    for key, value in table.items():
        if key not in kind.model_fields:
            raise ConfigError(unknown(place or "plan", key, kind.model_fields))
        inner = next((part for part in type_parts(kind.model_fields[key].annotation) if is_table(part)), None)
        if inner is not None and isinstance(value, dict):
            refuse_unknown(inner, value, f"{place}.{key}".lstrip("."))


def unknown(place: str, key: str, known: Iterable[str]) -> str:
    """Describe a key that is not known."""
    names = list(known)
    return f"{place} has no {key!r} (it has {', '.join(names)}).{nearest(key, names)}"


def is_table(part: object) -> bool:
    """Tell whether a type is a table of the plan."""
    return isinstance(part, type) and issubclass(part, BaseModel)


def type_parts(hint: Any) -> list[Any]:
    """Return a type and the types that it is made of: of `tuple[int, ...] | None`, tuple, int and None."""
    origin = get_origin(hint)
    if origin is None:
        return [hint]
    if origin is Literal:
        return [type(value) for value in get_args(hint)]
    inner = [part for argument in get_args(hint) if argument is not Ellipsis for part in type_parts(argument)]
    return inner if origin in (Union, UnionType) else [origin, *inner]


def kind_called(name: str, place: str, known: Mapping[str, type[Any]]) -> type[Any]:
    """Return the class of that name; ConfigError with the nearest name where there is none."""
    if name not in known:
        listed = ", ".join(known)
        raise ConfigError(f"{place}.name={name!r} is unknown (there are {listed}).{nearest(name, known)}")
    return known[name]


def make_attacks(
    named: tuple[NamedAttack, ...], place: str, load: LoadAttack | None = None
) -> tuple[Attack[Any, Any], ...]:
    """Return the attacks of a list of tables; without `load` those of FILE.py:NAME are left out, and no file is run."""
    places = [place] if len(named) == 1 else [f"{place}.{which}" for which in range(len(named))]
    known = [
        (one, where)
        for one, where in zip(named, places, strict=True)
        if load is not None or not USER_FILE.fullmatch(one.name)
    ]
    return tuple(make_plan_attack(one, where, load) for one, where in known)


def make_plan_attack(named: NamedAttack, place: str, load: LoadAttack | None = None) -> Attack[Any, Any]:
    """Return the attack with its radius."""
    given = None
    if load is not None and USER_FILE.fullmatch(named.name):
        spec = spec_of(load(named.name), named.name)
        kind, given = spec.kind, spec.given
    else:
        name = known_name(named.name, attacks) or named.name
        kind = kind_called(name, place, attacks)
    options = check_options(named, kind, place) | balls(named, kind, place)
    try:
        attack: Attack[Any, Any] = kind(**options) if given is None else replace(given, **options)  # type: ignore[type-var]
    except SparringError as error:
        raise type(error)(f"{place}: {error}") from error
    return attack


def balls(named: NamedAttack, kind: type[Any], place: str) -> dict[str, Any]:
    """Return the `ball` or `balls` of an attack, from its threat or threats."""
    known = {field.name: field for field in fields(kind)}
    if "balls" in known:
        if not isinstance(named.threat, tuple) or not named.threat:
            raise ThreatError(f'{place}.threat={named.threat!r}: {named.name} wants a list, as ["linf:0.3", "l2:2"]')
        return {"balls": tuple(ball(threat, place) for threat in named.threat)}
    if named.threat is None and "ball" not in known:
        return {}
    if "ball" not in known:
        raise ThreatError(f"{place}.threat={named.threat!r}: {named.name} has no field `ball`; leave the threat out")
    if named.threat is None:
        if known["ball"].default is MISSING and known["ball"].default_factory is MISSING:
            raise ThreatError(f'{place} has no threat, and {named.name} needs a radius; add threat = "linf:8/255"')
        return {}
    if not isinstance(named.threat, str):
        raise ThreatError(
            f"{place}.threat={list(named.threat)!r}: {named.name} keeps to one radius; write one [[{place}]] for each"
        )
    return {"ball": ball(named.threat, place)}


def ball(threat: str, place: str) -> Ball:
    """Return the ball of a threat with one radius."""
    try:
        found = parse_threat(threat).balls()
    except ThreatError as error:
        raise ThreatError(f"{place}.{error}") from error
    if len(found) != 1:
        raise ThreatError(f"{place}.threat={threat!r} has {len(found)} radii; train on one, as linf:8/255")
    return found[0]


def names_models(named: NamedTable, place: str) -> bool:
    """Tell whether making the objective takes a model; its options are checked on the way."""
    kind = kind_called(named.name, place, objectives)
    hints = get_type_hints(kind)
    options = check_options(named, kind, place)
    return any(
        names_models(value, f"{place}.{key}") if isinstance(value, NamedTable) else contains_type(hints[key], Target)
        for key, value in options.items()
    )


def _unasked(spec: str) -> Target[Any]:
    raise AssertionError(spec)


def make_objective(named: NamedTable, load: Load, place: str) -> Objective:
    """Return the objective, with the models and objectives inside it."""
    kind = kind_called(named.name, place, objectives)
    options = check_options(named, kind, place)
    hints = get_type_hints(kind)
    for key, value in options.items():
        if contains_type(hints[key], Objective):
            options[key] = make_objective(value, load, f"{place}.{key}")
        elif contains_type(hints[key], Target):
            options[key] = load(value) if isinstance(value, str) else tuple(load(spec) for spec in value)
    try:
        made: Objective = kind(**options)
    except SparringError as error:
        raise type(error)(f"{place}: {error}") from error
    return made


def check_options(named: NamedTable, kind: type[Any], place: str) -> dict[str, Any]:
    """Return the options in their types; models are still names, and objectives inside an objective still tables."""
    hints, known = get_type_hints(kind), writable(kind)
    checked: dict[str, Any] = {}
    options = named.options
    certified = issubclass(kind, CertifiedObjective)
    if certified:
        if "threat" not in options:
            raise ConfigError(f'{place} {named.name} needs threat, what it certifies; add threat = "linf:0.1"')
        if not isinstance(threat := options.pop("threat"), str):
            raise ThreatError(
                f'{place}.threat={threat!r}: {named.name} certifies one radius; write threat = "linf:0.1"'
            )
        checked["ball"] = ball(threat, place)
    for key, value in options.items():
        if key not in known:
            written = [*known, "threat"] if certified or isinstance(named, NamedAttack) else known
            raise ConfigError(unknown(f"{place} {named.name}", key, written))
        checked[key] = check_option(hints[key], value, f"{place}.{key}")
    missing = [name for name, field in known.items() if is_required(field) and name not in checked]
    if missing:
        raise ConfigError(f"{place} {named.name} needs {missing[0]}; add {missing[0]} = ...")
    return checked


def writable(kind: type[Any]) -> dict[str, Field[Any]]:
    """Return the fields that a plan may give."""
    hints = get_type_hints(kind)
    return {field.name: field for field in fields(kind) if field.init and is_writable(hints[field.name])}


def check_option(hint: Any, value: Any, place: str) -> Any:
    """Return a value of TOML in the type that `hint` says; ConfigError where it does not fit."""
    if contains_type(hint, Objective):
        try:
            inner = NamedTable.model_validate(value)
        except ValidationError as error:
            raise ConfigError(f"{place}={value!r:.80}: write a table [{place}] with a name") from error
        return inner
    if contains_type(hint, Target):
        many = tuple in type_parts(hint)
        wanted: Any = tuple[str, ...] if many else str
        return check_type(wanted, value, place, "name models" if many else "name a model, as trained:DIR")
    return check_type(hint, value, place)


def check_type(hint: Any, value: Any, place: str, cure: str = "") -> Any:
    """Return the value if it is of that type; lists become tuples, and nothing else becomes anything else."""
    try:
        return TypeAdapter(hint).validate_json(json.dumps(value, default=str), strict=True)
    except ValidationError as error:
        message = cure or error.errors()[0]["msg"]
        raise ConfigError(f"{place}={value!r:.80}: {message}") from error


def is_writable(hint: Any) -> bool:
    """Tell whether a plan can give a field of that type."""
    return any(contains_type(hint, kind) for kind in (Objective, Target)) or all(
        part in (*PLAIN, tuple) or (isinstance(part, type) and issubclass(part, Enum)) for part in type_parts(hint)
    )


def contains_type(hint: Any, kind: type[Any]) -> bool:
    """Tell whether `hint` is made of `kind` or of a class derived from it."""
    return any(isinstance(part, type) and issubclass(part, kind) for part in type_parts(hint))


def is_required(field: Field[Any]) -> bool:
    """Tell whether a field has no default."""
    return field.default is MISSING and field.default_factory is MISSING
