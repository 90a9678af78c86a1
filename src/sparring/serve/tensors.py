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
from ..inputs import Inputs

DIGITS = 18  # of a length
MOST_PARTS = 1 << 20  # lists, objects and texts of one request
ROUNDING = 1e-6  # by which a value may lie outside of the range
KINDS: dict[str, np.dtype[Any]] = {"FP32": np.dtype("<f4"), "FP64": np.dtype("<f8")}


@dataclass(frozen=True)
class InferRequest:
    """Images (B, C, H, W), and the id that the client gave."""

    id: str
    images: Tensor


def read_request(body: bytes | bytearray, head_length: str | None, shape: Sequence[int]) -> InferRequest:
    """Return the question in a body; `shape` is the input's, -1 where anything goes. InputError where it is none."""
    head, packed = body, body[:0]
    if head_length is not None:
        if not head_length.isdecimal() or len(head_length) > DIGITS or int(head_length) > len(body):
            raise InputError(f"Inference-Header-Content-Length {head_length[:20]!r} is no length within the body")
        head, packed = body[: int(head_length)], body[int(head_length) :]
    try:
        infer_request = parse_json(head)
        (tensor,) = infer_request["inputs"]
        name, asked = str(infer_request.get("id", "")), tensor["shape"]
        kind = KINDS[tensor["datatype"]]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError("the body is no question: one input with name, shape, datatype (FP32, FP64), data") from error
    fits = isinstance(asked, list) and len(asked) == 4 and all(type(side) is int and side > 0 for side in asked)
    if not fits or any(want not in (-1, have) for want, have in zip(shape[1:], asked[1:], strict=True)):
        raise InputError(f"the input has shape {str(asked)[:80]}; the model takes {list(shape)}")
    return InferRequest(name, torch.from_numpy(_values(tensor, packed, kind, math.prod(asked)).reshape(asked)))


def parse_json(text: bytes | bytearray) -> Any:
    """Parse JSON of any length while other threads go on; ValueError where it is none, or made to fill the memory.

    Numbers are read by functions in Python, since Python's parser in C lets no other thread run before its end.
    """
    if text.count(b"[") + text.count(b"{") + text.count(b'"') > MOST_PARTS:
        raise ValueError("no question has so many parts")
    return json.loads(text, parse_float=lambda digits: float(digits), parse_int=lambda digits: int(digits))


def check_range(images: Tensor, inputs: Inputs) -> None:
    """Raise InputError for the first value of images (B, C, H, W) that is NaN or outside of the inputs' range."""
    low, high = inputs.range_like(images)
    odd = ~((images >= low - ROUNDING) & (images <= high + ROUNDING))
    if bool(odd.any()):
        place = odd.nonzero()[0].tolist()
        raise InputError(
            f"the input holds {float(images[tuple(place)]):g} at {place} (image, channel, row, column); "
            f"values lie in [{inputs.low}, {inputs.high}]"
        )


def _values(tensor: Any, packed: bytes | bytearray, kind: np.dtype[Any], count: int) -> Any:
    if packed:
        if len(packed) != count * kind.itemsize:
            raise InputError(f"{len(packed)} bytes came for {count} numbers of {kind.itemsize} bytes")
        return np.frombuffer(packed, dtype=kind).copy()
    try:
        read = np.array(tensor["data"])
        if read.dtype.kind not in "fiu":
            raise ValueError(read.dtype)
        with np.errstate(over="ignore"):
            values = read.astype(kind).reshape(-1)
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise InputError("the input's data are no numbers of one shape") from error
    if len(values) != count:
        raise InputError(f"{len(values)} numbers came for a shape that holds {count}")
    return values


def encode_answer(name: str, infer_request: InferRequest, output: str, scores: Tensor) -> bytes:
    """Return the answer, in JSON, which has no word for a score that is not finite.

    -inf, of a class that the model never answers, is the lowest number of the answer's type; any other is null.
    """
    lowest = torch.finfo(torch.float32).min
    given = scores.double().masked_fill(scores.isneginf(), lowest).reshape(-1).tolist()
    flat = [value if math.isfinite(value) else None for value in given]
    tensor = {"name": output, "datatype": "FP32", "shape": list(scores.shape), "data": flat}
    answer = {"model_name": name, "outputs": [tensor]} | ({"id": infer_request.id} if infer_request.id else {})
    return json.dumps(answer, allow_nan=False).encode()
