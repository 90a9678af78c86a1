"""The outputs of any task as JSON: columns with a name, a kind and a value for each input."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from ...errors import TargetError
from ...tasks import Classification, Task

Kind = Literal["class", "number", "count", "flag"]


class PredictionColumn(BaseModel):
    """One column of a task's prediction: a class, a real number, a whole number or a yes and no."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    kind: Kind


def prediction_columns(task: Task, prediction: Mapping[str, Tensor]) -> tuple[PredictionColumn, ...]:
    """Return names and kinds of the columns of `prediction`."""
    return tuple(PredictionColumn(name=name, kind=_kind(task, name, column)) for name, column in prediction.items())


def _kind(task: Task, name: str, column: Tensor) -> Kind:
    if isinstance(task, Classification) and name == "predicted":
        return "class"
    return "flag" if column.dtype == torch.bool else "number" if column.is_floating_point() else "count"


def prediction_texts(prediction: Mapping[str, Tensor], finite: Tensor) -> list[str]:
    """Return the columns (B,) as one JSON text for each row; null where an answer is no number."""
    columns = {name: column.tolist() for name, column in prediction.items()}
    return [
        json.dumps({name: _plain(values[row]) if known else None for name, values in columns.items()})
        for row, known in enumerate(finite.tolist())
    ]


def detail_texts(details: Sequence[Any], finite: Tensor) -> list[str | None]:
    """Return the details as one JSON text for each row; None where there are none, or the answer is no number.

    Raises: TargetError where the task gives others than JSON has, or not one for each row.
    """
    known = finite.tolist()
    if not details:
        return [None] * len(known)
    if len(details) != len(known):
        raise TargetError(f"Task.details gives {len(details)} values for {len(known)} inputs; return one for each")
    try:
        return [json.dumps(one, allow_nan=False) if row else None for one, row in zip(details, known, strict=True)]
    except (TypeError, ValueError) as error:
        raise TargetError(
            f"Task.details gives what JSON does not have ({error}); return lists, texts and finite numbers"
        ) from error


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_prediction(text: str | None) -> dict[str, Any]:
    """Return the columns of one row by name; none where nothing was predicted."""
    found: dict[str, Any] = {} if text is None else json.loads(text)
    return found
