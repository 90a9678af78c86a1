"""MODEL and DATA of an audit of faces: a verifier, and trials of the persons in a folder."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ...errors import ConfigError
from .data import DataOptions
from .defenses import add_defense
from .models import InputOverrides, parse_input_spec, parse_numbers

if TYPE_CHECKING:
    from ...audit.plan_file import AuditConfig, VerificationConfig
    from ...biometrics import Acquisition, Trials
    from ...zoo import LoadedModel

IDENTIFICATION = ("evade", "identify")
TRIAL_GOALS = ("dodge", "impersonate", *IDENTIFICATION)


@dataclass(frozen=True)
class Acquired:
    """A verifier, and the embeddings of all pictures, from which the trials of several goals are made."""

    loaded: LoadedModel
    acquisition: Acquisition

    def trials(self, goal: str, how: VerificationConfig) -> tuple[LoadedModel, Trials]:
        """Return what is audited with a goal: the model, of 1:N identification an identifier, and the trials."""
        from ...biometrics import make_trials

        rates = {} if how.false_accept_rates is None else {"false_accept_rates": how.false_accept_rates}
        trials = make_trials(
            self.acquisition,
            goal,
            threshold=how.threshold,
            attacked=how.attacked,
            calibration=how.calibration,
            probes=how.probes,
            rank=how.rank,
            **rates,
        )
        return as_identifier(self.loaded) if goal in IDENTIFICATION else self.loaded, trials


def as_identifier(loaded: LoadedModel) -> LoadedModel:
    """Return the model as one of 1:N identification; what a defence is around stays inside it."""
    from ...targets import Defended, Identifier

    if isinstance(loaded.target, Defended):
        raise ConfigError("a defence is around a verifier: audit dodge and impersonate with it")
    return replace(loaded, target=Identifier(loaded.target))


def acquire_faces(config: AuditConfig, device: str) -> Acquired:
    """Load the verifier and embed all pictures."""
    from ...biometrics import acquire, as_verifier, person_pictures
    from ...zoo import load_model
    from ..display.progress import ProgressBars

    how, described = verification_of(config), InputOverrides(**config.input.model_dump())
    options = DataOptions(**config.read.model_dump())
    of_classes = {"classes": described.classes, "labels": options.labels, "class_names": options.class_names}
    for name, value in of_classes.items():
        if value is not None:
            raise ConfigError(f"{name} is of classes, and pictures of persons are told apart by their sub-folders")
    with ProgressBars(f"loading {config.model} and {config.data}") as bars:
        loaded = as_verifier(
            load_model(config.model, device=device),
            metric=how.metric,
            size=parse_input_spec(None, described),
            aligned=how.aligned,
            mean=parse_numbers("--mean", described.mean),
            std=parse_numbers("--std", described.std),
        )
        loaded = add_defense(loaded, config.defend, config.votes)
        pictures = person_pictures(config.data, input=loaded.input, scale=options.scale)
        total = len(pictures.data)
        acquisition = acquire(
            loaded.target, pictures, progress=lambda done: bars.show(f"embedding {config.data}", done, total)
        )
    return Acquired(loaded, acquisition)


def verification_of(config: AuditConfig) -> VerificationConfig:
    """Return what the plan says of persons and thresholds."""
    from ...audit.plan_file import VerificationConfig

    return config.verification or VerificationConfig()


def parse_persons(option: str, given: str | None) -> int | list[str] | None:
    """Return `10` as a number and `ann,bob` as names; None for None."""
    if given is None:
        return None
    if given.strip().isdecimal() and len(given) < 9:
        return int(given)
    names = [name.strip() for name in given.split(",") if name.strip()]
    if not names:
        raise ConfigError(f"{option} {given!r} names nobody; write a number, or names of sub-folders: ann,bob")
    return names


def parse_rates(given: str | None) -> list[float] | None:
    """Return `0.01,0.001` as numbers; None for None."""
    rates = parse_numbers("--far", given)
    return None if rates is None else [float(rate) for rate in rates]


def verification_table(typed: dict[str, Any]) -> dict[str, Any]:
    """Return the options of the command line as the table of a plan; those that are not given are left out."""
    table = {
        "false_accept_rates": parse_rates(typed.pop("far")),
        "threshold": typed.pop("threshold"),
        "attacked": parse_persons("--attacked", typed.pop("attacked")),
        "calibration": parse_persons("--calibration", typed.pop("calibration")),
        "probes": typed.pop("probes"),
        "rank": typed.pop("rank"),
        "metric": typed.pop("metric"),
        "aligned": typed.pop("aligned") or None,
    }
    return {name: value for name, value in table.items() if value is not None}


def load_trials(
    model: str,
    data: str,
    named: dict[str, Any],
    overrides: InputOverrides,
    options: DataOptions,
    device: str,
    limit: int | None,
    of_classifier: dict[str, Any],
) -> tuple[LoadedModel, Any]:
    """Return a verifier and the trials of a goal, as `sparring attack` names them.

    Raises: ConfigError for a goal that is none of verification, and for options of classifiers (`of_classifier`).
    """
    from ...audit.plan import check_word
    from ...audit.plan_file import make_audit_config

    goal = named.pop("goal")
    check_word("goal", goal or "", TRIAL_GOALS)
    for name, value in of_classifier.items():
        if value:
            raise ConfigError(f"--{name.replace('_', '-')} is of classifiers; with --goal {goal} leave it out")
    tables = {"input": vars(overrides), "read": vars(options), "verification": verification_table(named)}
    known = {
        table: {name: value for name, value in values.items() if value is not None} for table, values in tables.items()
    }
    config = make_audit_config({"model": model, "data": data, "threats": ["linf"], "goal": goal} | known)
    loaded, trials = acquire_faces(config, device).trials(goal, verification_of(config))
    return loaded, trials if limit is None else trials.first(limit)
