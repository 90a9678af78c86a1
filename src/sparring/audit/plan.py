"""What an audit is to do, as a record that can be written down and compared."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..access import Decisions, Gradients, Jacobians, Scores
from ..errors import ConfigError, nearest
from ..threats import Threat

ACCESS: dict[str, type[Decisions]] = {
    "decisions": Decisions,
    "scores": Scores,
    "gradients": Gradients,
    "jacobians": Jacobians,
}
Count = Annotated[int, Field(ge=1)]


class Plan(BaseModel):
    """Model, data, threats and effort. Two runs of one plan have the same records.

    `labels`: "data" takes the labels of the data set where it has them and the model's own clean prediction
    elsewhere; "model" takes the model's prediction throughout.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    model: str
    data: str
    threats: Annotated[tuple[Threat, ...], Field(min_length=1)]
    access: str | None = None
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    limit: Count | None = None
    batch_size: Count
    steps: Count = 40
    restarts: Count = 5
    queries: Count = 1000
    labels: Literal["data", "model"] = "data"


def make_plan(**fields: Any) -> Plan:
    """The plan; ConfigError naming the field, the value and what was expected."""
    access = fields.get("access")
    if access is not None and access not in ACCESS:
        raise ConfigError(f"access {access!r} is unknown ({', '.join(ACCESS)}).{nearest(access, ACCESS)}")
    try:
        return Plan(**fields)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"plan: {place}={first['input']!r}: {first['msg']}") from error


def differences(before: Plan, now: Plan) -> list[str]:
    """The names of the fields in which two plans differ."""
    return [name for name in Plan.model_fields if getattr(before, name) != getattr(now, name)]
