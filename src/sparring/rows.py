"""Row-wise records: frozen dataclasses in which every tensor, however deep, has one row per input.

Outputs, goals, losses, keys and the states of attacks are such records: they are narrowed, joined, detached, moved,
flattened for a checkpoint and rebuilt here and nowhere else. Beside tensors and records they hold plain values
(numbers, texts, None, enumerations), which belong to all rows. A list, tuple, dict or set is refused, since nobody
could say which of its tensors have rows.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import torch
from torch import Tensor
from torch.nn.functional import pad

from .shapes import RowSelection

R = TypeVar("R")


def take(record: R, rows: RowSelection) -> R:
    """Narrow the record to `rows`: indices (Q,), with repetition if wanted, a mask (B,), or a slice.

    Raises: TypeError for a record that holds a list, tuple, dict or set.
    """
    return _mapped(record, lambda tensor: tensor[rows])


def detach(record: R) -> R:
    """Cut the record's tensors off from the graph that made them."""
    return _mapped(record, Tensor.detach)


def to(record: R, device: torch.device) -> R:
    """Move the record's tensors to `device`."""
    return _mapped(record, lambda tensor: tensor.to(device))


def floats_to(record: R, dtype: torch.dtype) -> R:
    """Cast the record's floating-point tensors to `dtype`; the others stay as they are."""
    return _mapped(record, lambda tensor: tensor.to(dtype) if tensor.is_floating_point() else tensor)


def outside_inference(record: R) -> R:
    """Copy the record's tensors that were made in inference mode, since those have no part in a gradient.

    What is no record is returned as it is, for the checks that follow.
    """
    try:
        return _mapped(record, lambda tensor: tensor.clone() if tensor.is_inference() else tensor)
    except TypeError:
        return record


def join(records: Sequence[R]) -> R:
    """Put records of the same kind one below the other; plain values are those of the first.

    Where other axes than the first differ in length (numbers of boxes, of points), the shorter ones are filled with
    zeros at their end: a mask among the record's tensors is False there.

    Raises: ValueError for no records; TypeError as in `take`, and for records of different kinds.
    """
    if not records:
        raise ValueError("there are no records to join")
    first = records[0]
    if len(records) == 1:
        return first
    kinds = {type(record).__name__ for record in records}
    if len(kinds) > 1:
        raise TypeError(f"only records of one kind can be joined; got {', '.join(sorted(kinds))}")
    if isinstance(first, Tensor):
        tensors = cast(Sequence[Tensor], records)
        lengths = [max(axis) for axis in zip(*(tensor.shape[1:] for tensor in tensors), strict=True)]
        return cast(R, torch.cat([_filled(tensor, lengths) for tensor in tensors]))
    if _is_record(first):
        names = [f.name for f in fields(cast(Any, first))]
        parts = {name: join([getattr(record, name) for record in records]) for name in names}
        return cast(R, replace(cast(Any, first), **parts))
    _check_plain(first)
    return first


def _filled(tensor: Tensor, lengths: list[int]) -> Tensor:
    """Return the tensor with zeros up to `lengths` along all axes but the first."""
    missing = [length - present for length, present in zip(lengths, tensor.shape[1:], strict=True)]
    return pad(tensor, [side for end in reversed(missing) for side in (0, end)]) if any(missing) else tensor


def _mapped(record: R, change: Callable[[Tensor], Tensor]) -> R:
    """Return the record with every tensor changed; the record itself where it has none."""
    if isinstance(record, Tensor):
        return cast(R, change(record))
    if not _is_record(record):
        _check_plain(record)
        return record
    old = {f.name: getattr(record, f.name) for f in fields(cast(Any, record))}
    new = {name: _mapped(value, change) for name, value in old.items()}
    if all(new[name] is value for name, value in old.items()):
        return record
    return cast(R, replace(cast(Any, record), **new))


def _is_record(value: object) -> bool:
    return is_dataclass(value) and not isinstance(value, type)


def _check_plain(value: object) -> None:
    if isinstance(value, list | tuple | dict | set):
        kind = type(value).__name__
        raise TypeError(
            f"a row-wise record holds tensors, dataclasses and plain values; got a {kind}: {value!r:.200}; "
            "make it a frozen dataclass whose tensors have one row per input"
        )
    held = [name for name, one in getattr(value, "__dict__", {}).items() if isinstance(one, Tensor)]
    if held and not isinstance(value, type):
        raise TypeError(
            f"{type(value).__name__} holds tensors ({', '.join(held)}) and is no dataclass, so its rows cannot be "
            "taken; decorate it with @dataclass(frozen=True)"
        )


def flatten(record: Any, path: str = "") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors of a record by dotted path, and its plain values (numbers, strings, None)."""
    if isinstance(record, Tensor):
        return {path: record}, {}
    if not _is_record(record):
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
    """Build the record of the declared type `kind` from the parts that `flatten` returned; only dataclasses are made.

    Raises: KeyError where a part is missing, or a type is named that `kind` does not declare.
    """
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
        f.name: rebuild(_bound(hints[f.name], arguments), tensors, plain, f"{path}.{f.name}" if path else f.name)
        for f in fields(kind)
    }
    return kind(**parts)


def _bound(hint: Any, arguments: dict[Any, Any]) -> Any:
    """Return the hint with its type variables filled in."""
    inner = getattr(hint, "__parameters__", ())
    return hint[tuple(arguments.get(p, p) for p in inner)] if inner else arguments.get(hint, hint)


def _named(name: str, options: tuple[Any, ...]) -> Any:
    """Return the declared record type of this name: a file chooses among them and brings none of its own."""
    for option in options:
        if is_dataclass(origin := get_origin(option) or option) and origin.__qualname__ == name:  # type: ignore[union-attr]
            return option
    raise KeyError(name)
