"""`AuditPlan`: all parameters of an audit, as a record that can be saved and compared."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, model_validator

from ..access import ACCESS, Attack
from ..attacks import table
from ..attacks.spec import USER_FILE, AttackSpec, known_name, parse_attack, spec_of, split_attacks
from ..errors import ConfigError, nearest
from ..geometry import Ball
from ..hashing import file_sha256
from ..storage import describe_invalid
from ..text import storable
from ..threats import BALLS, Norm, Threat
from ..zoo.user_attack import user_attack

EFFORT = {  # of each suite: steps and restarts of PGD, queries of the black-box attacks
    "quick": {"steps": 40, "restarts": 5, "queries": 1000},
    "standard": {"steps": 10, "restarts": 1, "queries": 500},
    "thorough": {"steps": 100, "restarts": 5, "queries": 5000},
}
OWN = EFFORT["quick"]
GOALS = ("misclassify", "least-likely")
PRECISIONS = ("float32", "bfloat16", "float16")
Precision = Literal["float32", "bfloat16", "float16"]
Count = Annotated[int, Field(ge=1, lt=2**31)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False, strict=True)]
CERTIFIED_NORMS = ("Linf", "L2", "L1")  # those in which bounds are known
Suite = str | tuple[str, ...]


class StorableModel(BaseModel):
    """A frozen record of plain values whose texts, wherever they come from, can be written to a file."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _storable(cls, values: Any) -> Any:
        return storable(values)


class AuditOptions(BaseModel):
    """The parameters of an audit that mean the same in a file, in a call of `audit` and in the records."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    suite: Suite = Field(default="standard", description="quick, standard, thorough, or names of attacks")
    access: Literal["decisions", "scores", "gradients", "jacobians"] | None = Field(
        default=None, description="what attacks may ask; all that the model grants when left out"
    )
    draws: Count | None = Field(
        default=None, description="passes per gradient of a random defence; by the gradient's variance when left out"
    )
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    repeats: Count = Field(
        default=1, description="how many seeds, from `seed` on, the suite runs under, each on what still stands"
    )
    limit: Count | None = Field(default=None, description="take the first images only")
    labels: Literal["data", "model"] = Field(
        default="data",
        description="data: the labels of the data set, and the model's clean prediction where it has none; model: the "
        "model's clean prediction throughout",
    )
    expected_accuracy: Annotated[float, Field(ge=0, le=1)] | None = Field(
        default=None, description="the clean accuracy that the model is expected to have"
    )
    precision: Precision = Field(default="float32", description="of the model inside the search, confirmed without it")
    compile: bool = Field(default=False, description="search through torch.compile, confirmed without it")
    certify: Annotated[bool, Field(strict=True)] = Field(
        default=False, description="prove or break the images that withstand all attacks, by bounds"
    )
    certify_timeout: Seconds = Field(
        default=60.0, description="seconds of proofs for each image and radius; 0: CROWN only"
    )


class AuditPlan(StorableModel, AuditOptions):
    """Model, data, threats and effort. Two runs of one plan have the same records.

    `smallest`: norms without a radius, in which the nearest example of each image is searched. `goal`: of a classifier
    "misclassify" or "least-likely", of other tasks that of the data in words. `mask`, `eps`: SHA-256 of the mask and of
    the radii, one for each input; `reference`: of what came with the data beside its rows; `attack_files`: of the
    user's files that `suite` names.
    """

    model: str
    data: str
    threats: tuple[Threat, ...] = ()
    smallest: tuple[Norm, ...] = ()
    goal: str = "misclassify"
    batch_size: Count
    steps: Count
    restarts: Count
    queries: Count
    surrogate: str | None = None
    mask: str | None = None
    eps: str | None = None
    reference: str | None = None
    attack_files: tuple[str, ...] = ()
    _attacks: dict[str, AttackSpec] = PrivateAttr(
        default_factory=dict
    )  # what the words of `suite` mean in this process

    def balls(self) -> list[Ball]:
        """Return the balls of all threats, then one without a radius for each norm of `smallest`."""
        return [ball for threat in self.threats for ball in threat.balls()] + [BALLS[norm]() for norm in self.smallest]

    @property
    def certified_threats(self) -> tuple[Threat, ...]:
        """The threats at whose radii images are proven or broken; none where that is not asked for."""
        return tuple(one for one in self.threats if self.certify and one.norm in CERTIFIED_NORMS)

    @property
    def uncertified_threats(self) -> tuple[str, ...]:
        """The threats that have no certificates, in words."""
        return (
            *(
                f"{one.norm} {', '.join(radius.text for radius in one.radii)}"
                for one in self.threats
                if one.norm not in CERTIFIED_NORMS
            ),
            *(f"{norm} without a radius" for norm in self.smallest),
        )

    def attack(self, word: str) -> AttackSpec:
        """Return the attack that a word of `suite` means; a user's file is run only where the plan was made."""
        return self._attacks.get(word) or parse_attack(word, table)


def make_audit_plan(**fields: Any) -> AuditPlan:
    """Return the plan; ConfigError naming the field, the value and what was expected."""
    check_word("access", fields.get("access"), ACCESS)
    check_word("precision", fields.get("precision"), PRECISIONS)
    given = {name: value for name, value in fields.items() if value is not None}
    given["suite"], attacks = read_suite(given.get("suite", "standard"))
    files = [USER_FILE.fullmatch(word) for word in attacks]
    given["attack_files"] = tuple(file_sha256(Path(file["spec"].rpartition(":")[0])) for file in files if file)
    effort = EFFORT[given["suite"]] if isinstance(given["suite"], str) else OWN
    try:
        plan = AuditPlan(**(effort | given))
    except ValidationError as error:
        raise ConfigError(f"plan: {describe_invalid(error)}") from error
    plan._attacks.update(attacks)
    if not plan.threats and not plan.smallest:
        raise ConfigError("plan: threats=(): name at least 1 item, as linf:4/255, or linf for the smallest examples")
    twice = [one.norm for one in plan.threats if one.norm in plan.smallest]
    if twice:
        raise ConfigError(
            f"plan: {twice[0]} is given with a radius and without; the smallest examples answer every radius: keep one"
        )
    if plan.certify and not plan.certified_threats:
        threats = "; ".join(plan.uncertified_threats)
        raise ConfigError(
            f"certificates are for radii in Linf, L2 and L1, and the threats are {threats}; add one, as linf:4/255, or "
            "leave certify out"
        )
    return plan


def check_word(field: str, value: Any, known: Any) -> None:
    """Raise ConfigError with the nearest word for one that is not known."""
    if value is not None and not (isinstance(value, str) and value in known):
        raise ConfigError(f"{field} {value!r:.80} is unknown ({', '.join(known)}).{nearest(str(value), known)}")


def check_suite(suite: Any) -> None:
    """Raise ConfigError for a suite that is none, before a user's file is run."""
    for word in suite_words(suite):
        if isinstance(word, str) and word not in EFFORT and not USER_FILE.fullmatch(word):
            refuse_unknown(word, alone=len(suite_words(suite)) == 1)
            parse_attack(word, table)


def refuse_unknown(word: str, alone: bool) -> None:
    """Raise ConfigError for a word that names no attack, with the nearest attack or, where it is `alone`, suite."""
    name = word.partition(":")[0].strip()
    if not USER_FILE.fullmatch(word) and known_name(name, table) is None:
        known = [*EFFORT, *table] if alone else list(table)
        raise ConfigError(f"suite {name!r:.80} is unknown ({', '.join(known)}).{nearest(name, known)}")


def read_suite(suite: Any) -> tuple[Suite, dict[str, AttackSpec]]:
    """Return a suite by name, or its attacks: the words that are recorded, and what each of them means.

    Raises: ConfigError for what names no attack; UserCodeError where a user's file raises.
    """
    words = suite_words(suite)
    if len(words) == 1 and words[0] in EFFORT:
        return words[0], {}
    for word in words:
        if isinstance(word, str):
            refuse_unknown(word, alone=len(words) == 1)
    specs = [parse_attack(one, table, user_attack) if isinstance(one, str) else spec_of(one) for one in words]
    recorded = [spec.word for spec in specs]
    twice = next((word for word in recorded if recorded.count(word) > 1), None)
    if twice is not None:
        raise ConfigError(f"suite names {twice} twice; to run it under more seeds pass repeats=2")
    return tuple(recorded), dict(zip(recorded, specs, strict=True))


def suite_words(suite: Any) -> list[Any]:
    """Return the name of a suite, or the words and objects of its attacks; ConfigError where there is none."""
    if isinstance(suite, str):
        words: list[Any] = split_attacks(suite)
        if len(words) == 1 and words[0].strip().lower() in EFFORT:
            return [words[0].strip().lower()]
        words = [word for word in words if word]
    else:
        words = [suite] if isinstance(suite, Attack | type) or not hasattr(suite, "__iter__") else list(suite)
    if not words:
        raise ConfigError(f"suite={suite!r}: name {', '.join(EFFORT)}, or attacks, as fgsm,pgd,square")
    for word in words:
        if isinstance(word, str) and word.lower() in EFFORT and len(words) > 1:
            raise ConfigError(f"suite {word!r} is a suite of its own; name it alone, or attacks, as fgsm,pgd,square")
    return words


def differences(before: AuditPlan, now: AuditPlan) -> list[str]:
    """Return the names of the fields in which two plans differ."""
    return [name for name in AuditPlan.model_fields if getattr(before, name) != getattr(now, name)]
