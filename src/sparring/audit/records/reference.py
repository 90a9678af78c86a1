"""What came with the data beside its rows (`data.reference`): plain values and tensors, which the records hold."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ...errors import InputError
from ...text import storable
from ..evaluation.weights import tensor_bytes


def checked_reference(given: Any) -> dict[str, Any]:
    """Return the reference of a data source as it can be stored; empty for None.

    Raises: InputError where it is no mapping of names to tensors and to what JSON has.
    """
    found = {} if given is None else given
    if not isinstance(found, Mapping) or not all(isinstance(name, str) and name for name in found):
        raise InputError(f"the reference of the data is a {type(given).__name__}; give a dict of values by name")
    for name, value in found.items():
        if isinstance(value, Tensor):
            continue
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"reference[{name!r:.40}] of the data is a {type(value).__name__} that JSON does not have ({error}); "
                "give tensors, texts, finite numbers, lists and dicts"
            ) from error
    whole: dict[str, Any] = storable(dict(found))
    return whole


def split_reference(reference: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors of a reference, and its plain values."""
    tensors = {name: value.detach().cpu() for name, value in reference.items() if isinstance(value, Tensor)}
    return tensors, {name: value for name, value in reference.items() if name not in tensors}


def reference_digest(reference: Mapping[str, Any]) -> str | None:
    """Return the SHA-256 of a reference; None of an empty one."""
    if not reference:
        return None
    tensors, values = split_reference(reference)
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor_bytes(tensor) if tensor.numel() else b"")
    return digest.hexdigest()
