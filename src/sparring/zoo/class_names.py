"""`--class-names FILE`: what a model's classes are called, in the order of its outputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import InputError

SIZE_LIMIT = 2**26


def read_class_names(path: Path) -> tuple[str, ...]:
    """Return the names in a file: one per line, or as JSON a list, {"0": name, ...} or {name: 0, ...}.

    Raises: InputError for a file that is none, an empty name, and numbers that leave a class without one.
    """
    try:
        if not path.is_file() or path.stat().st_size > SIZE_LIMIT:
            raise InputError(f"{path} is no file of class names; name one with a class per line, or JSON")
        text = path.read_text(encoding="utf-8-sig")
        found = json.loads(text) if path.suffix.lower() == ".json" else text.rstrip().splitlines()
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path} cannot be read ({error}); save class names as UTF-8, one per line, or JSON"
        ) from error
    names = _in_order(path, found) if isinstance(found, dict) else found
    if not isinstance(names, list) or not names:
        raise InputError(f'{path} holds no class names; write one per line, or as JSON a list or {{"0": name, ...}}')
    for place, name in enumerate(names):
        if not isinstance(name, str) or not name.strip():
            raise InputError(f"{path}: class {place} is called {name!r:.80}; give every class a name")
    return tuple(name.strip() for name in names)


def _in_order(path: Path, named: dict[str, Any]) -> list[Any]:
    """The names of a mapping from numbers to names, or from names to numbers, in the order of the numbers."""
    pairs: list[tuple[Any, Any]] = list(named.items())
    if all(isinstance(value, int) and not isinstance(value, bool) for _, value in pairs):
        pairs = [(number, name) for name, number in pairs]
    numbered = {int(number): name for number, name in pairs if str(number).isascii() and str(number).isdigit()}
    if sorted(numbered) != list(range(len(pairs))):
        raise InputError(
            f"{path} does not number its {len(pairs)} classes from 0 to {len(pairs) - 1}; give each its number"
        )
    return [numbered[number] for number in range(len(pairs))]
