"""Row-wise records: narrow them, flatten them for a checkpoint, build them again."""

from __future__ import annotations

import types
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from torch import Tensor

R = TypeVar("R")


def take(record: R, rows: Tensor) -> R:
    """The record with every tensor in it, however deep, narrowed to `rows`."""
    if isinstance(record, Tensor):
        return cast(R, record[rows])
    if is_dataclass(record) and not isinstance(record, type):
        return replace(record, **{f.name: take(getattr(record, f.name), rows) for f in fields(record)})
    _check_plain(record)
    return record


def _check_plain(value: object) -> None:
    if isinstance(value, list | tuple | dict | set):
        raise TypeError(f"a state holds tensors, dataclasses and plain values; got a {type(value).__name__}: {value!r}")


def flatten(record: Any, path: str = "") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a record by dotted path, and its plain values (numbers, strings, None)."""
    if isinstance(record, Tensor):
        return {path: record}, {}
    if not (is_dataclass(record) and not isinstance(record, type)):
        _check_plain(record)
        return {}, {path: record}
    tensors: dict[str, Tensor] = {}
    plain: dict[str, Any] = {f"{path}:": type(record).__qualname__}
    for f in fields(record):
        inner = flatten(getattr(record, f.name), f"{path}.{f.name}" if path else f.name)
        tensors |= inner[0]
        plain |= inner[1]
    return tensors, plain


def rebuild(kind: Any, tensors: dict[str, Tensor], plain: dict[str, Any], path: str = "") -> Any:
    """What `flatten` took apart, from the declared type of the record: nothing but dataclasses is made."""
    if path in tensors:
        return tensors[path]
    if path in plain:
        return plain[path]
    if get_origin(kind) in (Union, types.UnionType):
        kind = _named(plain[f"{path}:"], get_args(kind))
    arguments = dict(zip(getattr(get_origin(kind), "__parameters__", ()), get_args(kind), strict=True))
    kind = get_origin(kind) or kind
    hints = get_type_hints(kind)
    parts = {
        f.name: rebuild(
            _bound(hints[f.name], arguments), tensors, plain, f"{path}.{f.name}" if path else f.name
        )
        for f in fields(kind)
    }
    return kind(**parts)


def _bound(hint: Any, arguments: dict[Any, Any]) -> Any:
    """The hint with its type variables filled in."""
    inner = getattr(hint, "__parameters__", ())
    return hint[tuple(arguments.get(p, p) for p in inner)] if inner else arguments.get(hint, hint)


def _named(name: str, options: tuple[Any, ...]) -> Any:
    """The declared record type of this name: a file chooses among them and brings none of its own."""
    for option in options:
        if is_dataclass(origin := get_origin(option) or option) and origin.__qualname__ == name:  # type: ignore[union-attr]
            return option
    raise KeyError(name)
