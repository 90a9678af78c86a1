"""Parsing of a server's untrusted answers: JSON into arrays of numbers, or TargetError with what it answered."""

from __future__ import annotations

import json
import math
import reprlib
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import TargetError
from .address import Address, plain

MOST_BRACKETS = 1 << 20  # lists and objects in one answer; more are memory and no scores
shorten = reprlib.Repr()
shorten.maxdict = shorten.maxlist = 4
shorten.maxlevel, shorten.maxstring, shorten.maxother = 3, 120, 60


def parsed(url: object, body: bytes) -> Any:
    """The JSON of an answer; NaN and Infinity, which JSON does not have, are read as NaN."""
    if body.count(b"[") + body.count(b"{") > MOST_BRACKETS:
        raise TargetError(f"{url}: the answer holds more than {MOST_BRACKETS:,} lists; scores are (images, classes)")
    try:
        return json.loads(body, parse_constant=lambda _: math.nan)
    except (ValueError, RecursionError) as error:
        start = plain(body[:80].decode("utf-8", "replace"))
        raise TargetError(f"{url}: the answer is no JSON ({start!r}...); see that this is a model's address") from error


def excerpt(answer: Any) -> str:
    """Return the beginning of a parsed answer, on one line."""
    return plain(shorten.repr(answer))


def flattened(url: object, data: Any) -> list[Any]:
    """The leaves of a nested list whose parts have the same length at each level."""
    flat = data if isinstance(data, list) else [data]
    while flat and isinstance(flat[0], list):
        if len({len(part) if isinstance(part, list) else -1 for part in flat}) != 1:
            raise TargetError(f"{url}: the answer's rows differ in length; scores are (images, classes)")
        flat = list(chain.from_iterable(flat))
    return flat


def numbers(url: object, data: Any, count: int) -> NDArray[np.float64]:
    """(count, K) float64 from numbers that are nested in any way, images first; what is not finite becomes NaN.

    The lowest number of float32, which JSON has in place of -inf, becomes -inf: a class that is never answered.
    """
    flat = flattened(url, data)
    odd = next((value for value in flat if type(value) not in (int, float, type(None))), None)
    if odd is not None:
        kind = type(odd).__name__
        raise TargetError(f"{url}: the answer holds {kind} where scores, which are numbers, should be: {excerpt(odd)}")
    if not flat or len(flat) % count:
        raise TargetError(f"{url}: {len(flat)} scores came back for {count} images; scores are (images, classes)")
    try:
        values = np.array([math.nan if value is None else float(value) for value in flat], dtype=np.float64)
    except OverflowError as error:
        raise TargetError(f"{url}: the answer holds a number that no float can hold") from error
    values[~np.isfinite(values)] = math.nan
    values[values <= np.finfo(np.float32).min] = -math.inf
    return values.reshape(count, -1)


def labels(address: Address, data: Any, count: int, names: tuple[str, ...] | None) -> NDArray[np.float64]:
    """(count, 1) class indices, from integers or from names that are known."""
    flat = data if isinstance(data, list) else [data]
    if flat and isinstance(flat[0], list):
        flat = list(chain.from_iterable(part if isinstance(part, list) else [part] for part in flat))
    if any(isinstance(value, str) for value in flat):
        unknown = next((value for value in flat if not isinstance(value, str) or value not in (names or ())), None)
        if names is None or unknown is not None:
            cure = address.option("class_names= with every name, in order", "class_names=FIRST,SECOND,...")
            raise TargetError(f"{address}: the label {excerpt(unknown)} is unknown; pass {cure}")
        flat = [names.index(value) for value in flat]
    found = numbers(address, flat, count)
    if found.shape[1] != 1 or not bool((found == np.floor(found)).all()):
        got = f"{found.shape[1]} number(s) per image"
        cure = address.option("Remote", "scores=logits")
        raise TargetError(f"{address}: the answer is {got} and no label; use {cure} for scores")
    return found


def at(url: object, data: Any, path: str) -> Any:
    """What lies at `path`: names and positions joined by dots, and `*` for each entry of a list."""
    if not path:
        return data
    step, _, rest = path.partition(".")
    if step == "*" and isinstance(data, list):
        return [at(url, entry, rest) for entry in data]
    if isinstance(data, dict) and step in data:
        return at(url, data[step], rest)
    if isinstance(data, list) and step.isdecimal() and len(step) < 10 and int(step) < len(data):
        return at(url, data[int(step)], rest)
    raise TargetError(f"{url}: the answer has no {plain(step)!r}; it is {excerpt(data)}")
