"""An audit as a TOML file, checked before a model or an image is read.

model = "zoo:mnist-robust-linf"
data = "zoo:mnist-heldout"
threats = ["linf:0.1,0.3", "l2"]        # a norm alone: the smallest example of each image
suite = "standard"                      # or quick, thorough, or ["fgsm", "pgd", "square"]
limit = 500

[effort]
queries = 2000
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator

from ..access import ACCESS
from ..attacks.spec import split_attacks
from ..biometrics.trials import GOALS as TRIAL_GOALS
from ..errors import ConfigError, nearest
from ..geometry import Ball
from ..storage import describe_invalid, read_toml
from ..threats import BALLS, WORDS, Threat, parse_threat_list
from ..zoo.coco_data import GOALS as DETECTION_GOALS
from ..zoo.spec_paths import under, with_path, with_paths
from .findings import check_codes
from .plan import GOALS, PRECISIONS, AuditOptions, Count, check_suite, check_word


def _as_it_is(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    """A name of a file that is no UTF-8 has characters which pydantic's own text refuses, and is used as it is."""
    return value if isinstance(value, str) else check(value)


Spec = Annotated[str, WrapValidator(_as_it_is)]  # a MODEL, DATA or file


class ConfigTable(BaseModel):
    """A table of the file; `make_audit_config` reports what does not fit."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class EffortConfig(ConfigTable):
    """How much is done; what is left out is the suite's own."""

    steps: Count | None = Field(default=None, description="of PGD")
    restarts: Count | None = Field(default=None, description="of PGD")
    queries: Count | None = Field(default=None, description="of Square, or of the attacks on decisions, per image")


class InputConfig(ConfigTable):
    """What FILE.py models do not say of themselves."""

    mean: str | None = Field(default=None, description="per channel, as 0.485,0.456,0.406")
    std: str | None = None
    size: str | None = Field(default=None, description="224 or HEIGHTxWIDTH")
    channels: Count | None = None
    classes: Count | None = None


class ReadConfig(ConfigTable):
    """How the data is read."""

    scale: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="the value of white in arrays, and in pictures of more than 8 bits: 4095 for 12 bits"
    )
    labels: str | None = Field(default=None, description="a CSV file of file name,label for folder: and flat:")
    class_names: str | None = Field(default=None, description="a file of the model's class names, one per line or JSON")


class VerificationConfig(ConfigTable):
    """Who is attacked, at which thresholds: of the goals dodge, impersonate, evade and identify."""

    false_accept_rates: tuple[Annotated[float, Field(gt=0, lt=1)], ...] | None = Field(
        default=None, description="a threshold is calibrated at each; 0.01 and 0.001 when left out"
    )
    threshold: float | None = Field(default=None, description="a similarity, in place of calibrated thresholds")
    attacked: Annotated[int, Field(ge=2)] | tuple[str, ...] | None = Field(
        default=None, description="persons by name, or how many of the last"
    )
    calibration: Annotated[int, Field(ge=2)] | tuple[str, ...] | None = Field(
        default=None, description="persons by name, or how many of the first; all who are not attacked when left out"
    )
    probes: Count = Field(default=1, description="attacked pictures of each person")
    rank: Count = Field(default=1, description="of evade: within how many leading persons one must not be")
    metric: Literal["cosine", "euclidean"] | None = Field(
        default=None, description="how the embeddings of a bare network are compared"
    )
    aligned: Annotated[bool, Field(strict=True)] = Field(
        default=False, description="pictures are faces, cut out and aligned; else the face is looked for in each"
    )


GoalWord = Literal["misclassify", "least-likely", "dodge", "impersonate", "evade", "identify", "vanish", "mislabel"]


class AuditConfig(ConfigTable, AuditOptions):
    """An audit, as a person writes it down."""

    model: Spec = Field(description="as on the command line: zoo:NAME, FILE.py:FACTORY, ...")
    data: Spec = Field(description="as on the command line: zoo:NAME, folder:DIR, ...")
    threats: Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        description="NORM:EPS[,EPS...], as linf:4/255; a norm alone searches the smallest example of each image"
    )
    goal: GoalWord | None = Field(
        default=None,
        description="misclassify when left out; dodge and impersonate of a verifier, evade and identify of 1:N "
        "identification, vanish and mislabel of an object detector. Data of another task bring their own",
    )
    surrogate: Spec | None = Field(default=None, description="a MODEL whose examples are tried on the audited one")
    defend: tuple[Spec, ...] = Field(
        default=(), description="what the model is put behind, in this order: jpeg:75, resize-pad, FILE.py:FACTORY, ..."
    )
    votes: Count = Field(default=1, description="answers of a random defence that make one of its own")
    batch_size: Count | None = Field(default=None, description="images per pass and per recorded chunk")
    mask: Spec | None = Field(
        default=None, description="a PNG (white: may move), .npy or .npz file: where the images may be changed"
    )
    fail_under: Annotated[float, Field(ge=0, le=1)] | None = Field(
        default=None, description="the least robust accuracy that is accepted"
    )
    accept: tuple[str, ...] = Field(default=(), description="codes of findings that are taken note of")
    effort: EffortConfig = Field(default_factory=EffortConfig)
    input: InputConfig = Field(default_factory=InputConfig)
    read: ReadConfig = Field(default_factory=ReadConfig)
    verification: VerificationConfig | None = Field(default=None, description="of the goals of verification")

    def balls(self) -> list[Ball | Threat]:
        """Return the threats as `audit` takes them."""
        return parse_threats(self.threats)

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of `audit` that need nothing to be loaded, by name."""
        plain = {*AuditOptions.model_fields, "goal", "batch_size"}
        return self.model_dump(include=plain) | self.effort.model_dump()


def parse_threats(words: Iterable[str]) -> list[Ball | Threat]:
    """`linf:4/255` is a threat; `linf` alone is the norm, for the smallest example of each image."""
    listed = list(words)
    free = [word.strip().lower() for word in listed if word.strip().lower() in WORDS]
    given = parse_threat_list(word for word in listed if word.strip().lower() not in WORDS)
    return [*given, *(BALLS[WORDS[word]]() for word in dict.fromkeys(free))]


def read_audit_config(path: Path) -> AuditConfig:
    """Return the audit in a TOML file; paths in it are relative to its folder.

    Raises: ConfigError or ThreatError, which name the file, the field, its value and what was expected.
    """
    table = plan_table(path)
    try:
        return make_audit_config(table)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def plan_table(path: Path) -> dict[str, Any]:
    """Return the table of a plan; paths in it are relative to its folder."""
    written = read_toml(path, "the plan of an audit")
    table: dict[str, Any] = with_paths(written, path.parent)
    if isinstance(suite := written.get("suite"), str):
        table["suite"] = ",".join(with_path(word, path.parent) for word in split_attacks(suite))
    for name, inner in (("mask", table), *((name, table.get("read")) for name in ("labels", "class_names"))):
        if isinstance(inner, dict) and isinstance(inner.get(name), str):
            inner[name] = under(inner[name], path.parent)
    return table


def make_audit_config(table: Mapping[str, Any]) -> AuditConfig:
    """Return the audit, if everything in it is known and of its type."""
    refuse_unknown_keys(AuditConfig, table, "plan")
    goals = (*GOALS, *TRIAL_GOALS, *DETECTION_GOALS)
    for name, known in (("access", ACCESS), ("goal", goals), ("precision", PRECISIONS)):
        check_word(name, table.get(name), known)
    try:
        config = AuditConfig.model_validate(table)
    except ValidationError as error:
        raise ConfigError(describe_invalid(error)) from error
    if not config.certify and "certify_timeout" in config.model_fields_set:
        raise ConfigError(
            f"certify_timeout={config.certify_timeout:g} limits certificates, and none are asked for; add certify"
        )
    if config.verification is not None and config.goal not in TRIAL_GOALS:
        raise ConfigError(
            f"persons, thresholds and metric are of the goals {', '.join(TRIAL_GOALS)}, and the goal is "
            f"{config.goal or GOALS[0]}; name one of them as goal"
        )
    check_suite(config.suite)
    check_codes(config.accept)
    config.balls()
    return config


def read_face_plan(path: Path) -> list[AuditConfig]:
    """Return the audits of a plan of `sparring face`: that of an audit with `goals`, a list, in place of `goal`.

    Raises: as `read_audit_config`.
    """
    table = plan_table(path)
    goals = table.pop("goals", ["dodge", "impersonate"])
    if not isinstance(goals, list) or not goals or len(set(map(str, goals))) < len(goals):
        raise ConfigError(f"{path}: goals={goals!r:.80}; write a list of {', '.join(TRIAL_GOALS)}, each once")
    if "goal" in table:
        raise ConfigError(f"{path}: goal={table['goal']!r:.80}; a plan of faces has several: write goals = [...]")
    for goal in goals:
        check_word("goals", goal if isinstance(goal, str) else repr(goal), TRIAL_GOALS)
    try:
        return [make_audit_config(table | {"goal": goal}) for goal in goals]
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def refuse_unknown_keys(kind: type[ConfigTable], table: Mapping[str, Any], place: str) -> None:
    """Raise ConfigError with the nearest name for a key that no table has."""
    for key, value in table.items():
        if key not in kind.model_fields:
            names = list(kind.model_fields)
            raise ConfigError(f"{place} has no {key!r:.80} (it has {', '.join(names)}).{nearest(key, names)}")
        if kind is AuditConfig and key in INNER_TABLES and isinstance(value, dict):
            refuse_unknown_keys(INNER_TABLES[key], value, key)


INNER_TABLES: dict[str, type[ConfigTable]] = {
    "effort": EffortConfig, "input": InputConfig, "read": ReadConfig, "verification": VerificationConfig,
}  # fmt: skip
