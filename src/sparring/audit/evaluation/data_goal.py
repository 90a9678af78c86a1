"""The goals that come with the data of a task other than classification: in words, and told apart row by row."""

from __future__ import annotations

import hashlib
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any

from torch import Tensor

from ...goals import Goal
from ...rows import flatten
from .weights import tensor_bytes


def goal_words(goal: Goal) -> str:
    """Return `Vanish(iou=0.3, threshold=0)`: the kind of goal, its plain values, its loss if that is not the usual."""
    parts = []
    listed: tuple[Field[Any], ...] = fields(goal) if is_dataclass(goal) else ()
    for field in listed:
        value = getattr(goal, field.name)
        if flatten(value)[0] or (hasattr(value, "__dataclass_fields__") and value == usual(field)):
            continue
        parts.append(f"{field.name}={value:.6g}" if isinstance(value, float) else f"{field.name}={value}")
    return f"{type(goal).__name__}({', '.join(parts)})"


def plain_values(goal: Goal) -> dict[str, bool | int | float | str | None]:
    """Return the numbers and texts among the fields of a goal, by name."""
    listed: tuple[Field[Any], ...] = fields(goal) if is_dataclass(goal) else ()
    values = {field.name: getattr(goal, field.name) for field in listed}
    return {
        name: value for name, value in values.items() if value is None or isinstance(value, bool | int | float | str)
    }


def usual(field: Any) -> Any:
    """Return the default of a dataclass's field."""
    if field.default_factory is not MISSING:
        return field.default_factory()
    return None if field.default is MISSING else field.default


def row_digests(record: Any, count: int) -> list[str]:
    """SHA-256 of each of the `count` rows of a record, its plain values included; empty texts for None."""
    if record is None:
        return [""] * count
    tensors, plain = flatten(record)
    rows: list[tuple[str, Tensor]] = [(name, tensor.detach().cpu()) for name, tensor in sorted(tensors.items())]
    digests = []
    for row in range(count):
        digest = hashlib.sha256(repr(sorted((name, repr(value)) for name, value in plain.items())).encode())
        for name, tensor in rows:
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape[1:])}".encode())
            if tensor[row].numel():
                digest.update(tensor_bytes(tensor[row]))
        digests.append(digest.hexdigest())
    return digests
