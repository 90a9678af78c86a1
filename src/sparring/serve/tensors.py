"""Request and response bodies of the Open Inference Protocol: JSON, or JSON followed by the tensor's bytes."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError

KINDS: dict[str, np.dtype[Any]] = {"FP32": np.dtype("<f4"), "FP64": np.dtype("<f8")}


@dataclass(frozen=True)
class InferRequest:
    """Images (B, C, H, W), and the id that the client gave."""

    id: str
    images: Tensor


def read_request(body: bytes, head_length: str | None, shape: Sequence[int]) -> InferRequest:
    """Return the question in a body; `shape` is the input's, -1 where anything goes. InputError where it is none."""
    head, packed = body, b""
    if head_length is not None:
        if not head_length.isdecimal() or int(head_length) > len(body):
            raise InputError(f"Inference-Header-Content-Length {head_length[:20]!r} is no length within the body")
        head, packed = body[: int(head_length)], body[int(head_length) :]
    try:
        infer_request = json.loads(head)
        (tensor,) = infer_request["inputs"]
        name, asked = str(infer_request.get("id", "")), tensor["shape"]
        kind = KINDS[tensor["datatype"]]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError("the body is no question: one input with name, shape, datatype (FP32, FP64), data") from error
    fits = isinstance(asked, list) and len(asked) == 4 and all(type(side) is int and side > 0 for side in asked)
    if not fits or any(want not in (-1, have) for want, have in zip(shape[1:], asked[1:], strict=True)):
        raise InputError(f"the input has shape {str(asked)[:80]}; the model takes {list(shape)}")
    return InferRequest(name, torch.from_numpy(_values(tensor, packed, kind, math.prod(asked)).reshape(asked)))


def _values(tensor: Any, packed: bytes, kind: np.dtype[Any], count: int) -> Any:
    if packed:
        if len(packed) != count * kind.itemsize:
            raise InputError(f"{len(packed)} bytes came for {count} numbers of {kind.itemsize} bytes")
        return np.frombuffer(packed, dtype=kind).copy()
    try:
        values = np.array(tensor["data"], dtype=kind).reshape(-1)
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise InputError("the input's data are no numbers of one shape") from error
    if len(values) != count:
        raise InputError(f"{len(values)} numbers came for a shape that holds {count}")
    return values


def encode_answer(name: str, infer_request: InferRequest, output: str, scores: Tensor) -> bytes:
    """Return the answer; a score that is not finite is null, since JSON has no word for it."""
    flat = [value if math.isfinite(value) else None for value in scores.double().reshape(-1).tolist()]
    tensor = {"name": output, "datatype": "FP32", "shape": list(scores.shape), "data": flat}
    answer = {"model_name": name, "outputs": [tensor]} | ({"id": infer_request.id} if infer_request.id else {})
    return json.dumps(answer, allow_nan=False).encode()
