"""The outputs of any task as JSON: columns with a name, a kind and a value for each input."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

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


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_prediction(text: str | None) -> dict[str, Any]:
    """Return the columns of one row by name; none where nothing was predicted."""
    found: dict[str, Any] = {} if text is None else json.loads(text)
    return found
