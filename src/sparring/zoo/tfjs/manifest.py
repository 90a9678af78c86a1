"""Reading JSON files and typed fields of them, where the file may hold anything."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, TypeVar

from ...errors import TargetError

JSON_LIMIT = 64 * 2**20
SIDES_LIMIT = 8  # axes of a tensor
T = TypeVar("T")


def read_json(file: Path) -> Any:
    """Return what a JSON file holds; TargetError where it is not there, is none, or is over 64 MiB."""
    try:
        if file.stat().st_size > JSON_LIMIT:
            raise TargetError(f"{file} has {file.stat().st_size} bytes; a model's JSON file has {JSON_LIMIT} at most")
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise TargetError(f"{file} cannot be read as JSON: {error}") from error


def field(record: Any, name: str, kind: type[T], what: str) -> T:
    """Return a field of a JSON object; TargetError where it is missing or of another kind.

    A bool is no int, and an int serves as a float.
    """
    found = record.get(name) if isinstance(record, dict) else None
    if kind is float and isinstance(found, int) and not isinstance(found, bool):
        found = float(found) if abs(found) < 2**63 else math.inf
    if not isinstance(found, kind) or (isinstance(found, bool) and kind is not bool):
        raise TargetError(f"{what} has no {name} ({kind.__name__}); got {found!r:.80}")
    if isinstance(found, float) and not math.isfinite(found):
        raise TargetError(f"{what} has {name}={found}, which is no finite number")
    return found


def shape_of(record: Any, what: str) -> tuple[int, ...]:
    """Return the field `shape`: at most eight sizes, none negative."""
    sides = field(record, "shape", list, what)
    whole = all(isinstance(side, int) and not isinstance(side, bool) and side >= 0 for side in sides)
    if not whole or len(sides) > SIDES_LIMIT:
        raise TargetError(f"{what} has the shape {sides!r:.80}; a shape is a list of at most {SIDES_LIMIT} sizes")
    return tuple(sides)
