"""`AuditPlan`: all parameters of an audit, as a record that can be saved and compared."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..access import Decisions, Gradients, Jacobians, Scores
from ..attacks import table
from ..errors import ConfigError, nearest
from ..text import storable
from ..threats import Norm, Threat

ACCESS: dict[str, type[Decisions]] = {
    "decisions": Decisions,
    "scores": Scores,
    "gradients": Gradients,
    "jacobians": Jacobians,
}
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
Suite = str | tuple[str, ...]


class StorableModel(BaseModel):
    """A frozen record of plain values whose texts, wherever they come from, can be written to a file."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _storable(cls, values: Any) -> Any:
        return storable(values)


class AuditPlan(StorableModel):
    """Model, data, threats and effort. Two runs of one plan have the same records.

    `smallest`: norms without a radius, in which the nearest example of each image is searched.
    `suite`: quick, standard or thorough, or names of attacks. `repeats`: how often the whole suite runs on what still
    stands, each time under another seed. `labels`: "data" takes the labels of the data set where it has them and the
    model's own clean prediction elsewhere; "model" takes the model's prediction throughout. `draws`: passes per
    gradient of a random defence; None: by the gradient's variance. `precision`, `compile`: of the model inside the
    search; what is found is confirmed by the model as it is. `goal`: of a classifier "misclassify" or "least-likely",
    of other tasks that of the data in words. `mask`, `eps`: SHA-256 of the mask and of the radii, one for each input.
    """

    model: str
    data: str
    threats: tuple[Threat, ...] = ()
    smallest: tuple[Norm, ...] = ()
    suite: Suite = "standard"
    goal: str = "misclassify"
    access: str | None = None
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    repeats: Count = 1
    limit: Count | None = None
    batch_size: Count
    steps: Count
    restarts: Count
    queries: Count
    draws: Count | None = None
    labels: Literal["data", "model"] = "data"
    surrogate: str | None = None
    expected_accuracy: Annotated[float, Field(ge=0, le=1)] | None = None
    precision: Precision = "float32"
    compile: bool = False
    mask: str | None = None
    eps: str | None = None


def make_audit_plan(**fields: Any) -> AuditPlan:
    """Return the plan; ConfigError naming the field, the value and what was expected."""
    check_word("access", fields.get("access"), ACCESS)
    check_word("precision", fields.get("precision"), PRECISIONS)
    given = {name: value for name, value in fields.items() if value is not None}
    given["suite"] = check_suite(given.get("suite", "standard"))
    effort = EFFORT[given["suite"]] if isinstance(given["suite"], str) else OWN
    try:
        plan = AuditPlan(**(effort | given))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"plan: {place}={first['input']!r:.200}: {first['msg']}") from error
    if not plan.threats and not plan.smallest:
        raise ConfigError("plan: threats=(): name at least 1 item, as linf:4/255, or linf for the smallest examples")
    twice = [one.norm for one in plan.threats if one.norm in plan.smallest]
    if twice:
        raise ConfigError(
            f"plan: {twice[0]} is given with a radius and without; the smallest examples answer every radius: keep one"
        )
    return plan


def check_word(field: str, value: Any, known: Any) -> None:
    """Raise ConfigError with the nearest word for one that is not known."""
    if value is not None and not (isinstance(value, str) and value in known):
        raise ConfigError(f"{field} {value!r:.80} is unknown ({', '.join(known)}).{nearest(str(value), known)}")


def check_suite(suite: Any) -> Suite:
    """Return a suite by name, or a list of names of attacks."""
    if isinstance(suite, str) and suite in EFFORT:
        return suite
    names = [name.strip() for name in suite.split(",")] if isinstance(suite, str) else list(suite)
    if not names:
        raise ConfigError(f"suite=(): name {', '.join(EFFORT)}, or attacks, as fgsm,pgd,square")
    for name in names:
        if name not in table:
            known = [*EFFORT, *table] if len(names) == 1 else list(table)
            raise ConfigError(f"suite {name!r:.80} is unknown ({', '.join(known)}).{nearest(str(name), known)}")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f"suite names {twice} twice; to run it under more seeds pass repeats=2")
    return tuple(names)


def differences(before: AuditPlan, now: AuditPlan) -> list[str]:
    """Return the names of the fields in which two plans differ."""
    return [name for name in AuditPlan.model_fields if getattr(before, name) != getattr(now, name)]
