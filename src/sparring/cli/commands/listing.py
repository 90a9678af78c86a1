"""`sparring list`."""

from __future__ import annotations

import inspect
from dataclasses import MISSING, fields
from typing import Annotated

import typer

from ...errors import ConfigError, nearest
from ..display.console import print_table
from ..display.errors import with_exit_code


def list_attacks() -> None:
    """Print a table of the attacks on single images, and one of those that serve many images at once."""
    from ...attacks import shared_table
    from ...attacks import table as known

    for title, kinds in (("attacks", known), ("one thing for many images: sparring fit", shared_table)):
        rows: list[list[object]] = [[name, kind._access.__name__, first_line(kind)] for name, kind in kinds.items()]
        print_table(title, ["name", "asks for", "what it is"], rows, left=3)


def list_goals() -> None:
    """Print a table of the goals that a command can give an attacker."""
    from ...goals import ClassifyAs, Dodge, EvadeIdentification, IdentifyAs, Impersonate, Misclassify, Mislabel, Vanish

    rows: list[list[object]] = [
        ["misclassify", "the default", first_line(Misclassify)],
        ["classify-as", "--targeted CLASS", first_line(ClassifyAs)],
        ["dodge", "--goal dodge, of a face verifier", first_line(Dodge)],
        ["impersonate", "--goal impersonate", first_line(Impersonate)],
        ["evade", "--goal evade, of 1:N identification", first_line(EvadeIdentification)],
        ["identify", "--goal identify", first_line(IdentifyAs)],
        ["vanish", "--goal vanish, of an object detector", first_line(Vanish)],
        ["mislabel", "--goal mislabel", first_line(Mislabel)],
    ]
    print_table("goals", ["name", "how", "what it is"], rows, left=3)


def list_models() -> None:
    """Print a table of the zoo's models."""
    from ...zoo import models as known

    print_table("models", ["name", "what it is"], [[f"zoo:{name}", about] for name, about in known().items()], left=2)


def list_data() -> None:
    """Print a table of the zoo's data sets."""
    from ...zoo import data as known

    print_table("data", ["name", "what it is"], [[f"zoo:{name}", about] for name, about in known().items()], left=2)


def list_plans() -> None:
    """Print a table of the zoo's training plans, and one of its plans for audits of faces."""
    from ...zoo import face_plans, plans

    for title, known in (("training plans: sparring train NAME", plans), ("faces: sparring face NAME", face_plans)):
        print_table(title, ["name", "what it is"], [[*each] for each in known().items()], left=2)


def list_objectives() -> None:
    """Print a table of training objectives, with the other keys that a plan may give each."""
    from ...defenses.training import table as known

    rows: list[list[object]] = [[name, wanted(kind), first_line(kind)] for name, kind in known.items()]
    print_table("objectives of a training plan", ["name", "other keys", "what it is"], rows, left=3)


def list_defenses() -> None:
    """Print a table of the stages that `--defend` takes, with their parameters, then the training objectives."""
    from ..specs.defenses import known_stages

    rows: list[list[object]] = [[name, _parameters(kind), first_line(kind)] for name, kind in known_stages().items()]
    print_table("stages: --defend NAME:PARAMETER=VALUE", ["name", "parameters", "what it is"], rows, left=3)
    list_objectives()


def _parameters(kind: type) -> str:
    return ", ".join(f.name if f.default is MISSING else f"{f.name}={_shown(f.default)}" for f in fields(kind))


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)


def wanted(kind: type) -> str:
    """Return the keys that a plan may give an objective."""
    from ...defenses.training.plan import writable

    return ", ".join(writable(kind))


KINDS = {
    "attacks": list_attacks,
    "goals": list_goals,
    "models": list_models,
    "data": list_data,
    "defenses": list_defenses,
    "objectives": list_objectives,
    "plans": list_plans,
}


def first_line(kind: type) -> str:
    """Return the first line of a class's docstring."""
    return (inspect.getdoc(kind) or "").partition("\n")[0]


@with_exit_code
def list_command(
    kind: Annotated[str, typer.Argument(metavar="|".join(KINDS), help="What to list.")],
) -> None:
    """List attacks, models, data, goals, defenses, training objectives or training plans by name."""
    if kind not in KINDS:
        raise ConfigError(f"{kind!r} cannot be listed; name one of {', '.join(KINDS)}.{nearest(kind, KINDS)}")
    KINDS[kind]()
