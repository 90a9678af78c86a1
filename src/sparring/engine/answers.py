"""What a target answers on a few inputs, kept beside a run: by it the run knows its model again.

Weights and names do not tell two models apart that differ in their code, as by an activation. Answers do; they are
compared within a tolerance, since other hardware, or another number of threads, changes their last digits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..errors import LockedOut
from ..random import Key
from ..rows import flatten
from ..targets import Target, answered

FEW = 8  # inputs that `run` and `fit` ask about
MOST_NUMBERS = 1 << 16  # of an answer that are kept, evenly spread
TOLERANCE = 1e-3  # relative to the largest number; TF32 rounds to 5e-4
COARSE = 3e-2  # for answers in half precision, or from another kind of device

Answers = dict[str, Tensor]  # numbers (M,) float32 by their path in the outputs; empty: these tell nothing


def sample_answers(target: Target[Any], x: Tensor, key: Key, context: Any = None, twice: bool = True) -> Answers:
    """Ask the target about the inputs `x` (B, ...) on its device, and return a sample of its answers.

    It is empty where the target answers otherwise a second time (asked if `twice`), or no more at all, and where its
    answers are counted by others: those are not spent on this.
    """
    if target.metered:
        return {}
    try:
        with torch.no_grad():
            first = numbers_of(answered(target, x, key, context))
            again = numbers_of(answered(target, x, key, context)) if twice else first
    except LockedOut:
        return {}
    return first if answers_agree(first, again) else {}


def numbers_of(outputs: Any) -> Answers:
    """Return the real numbers in outputs of any task, at most MOST_NUMBERS of each tensor, on the CPU."""
    found: Answers = {}
    try:
        tensors = flatten(outputs)[0]
    except TypeError:  # outputs of a task of the user's own that are no record
        return {}
    for path, tensor in tensors.items():
        if tensor.is_floating_point() and tensor.numel():
            numbers = tensor.detach().reshape(-1)[:: -(-tensor.numel() // MOST_NUMBERS)]
            found[path or "outputs"] = numbers.float().cpu().clone()
    return found


def answers_agree(before: Mapping[str, Tensor], now: Mapping[str, Tensor], same_device: bool = True) -> bool:
    """Tell whether two samples come from the same model; an empty one agrees with all."""
    if not before or not now:
        return True
    if before.keys() != now.keys():
        return False
    return all(numbers_agree(before[name], now[name], same_device) for name in before)


def numbers_agree(before: Tensor, now: Tensor, same_device: bool) -> bool:
    """Compare numbers (M,) within the tolerance; what is not finite must be equal."""
    if before.shape != now.shape:
        return False
    finite = before.isfinite()
    if not torch.equal(finite, now.isfinite()) or not torch.equal(
        before[~finite].nan_to_num(), now[~finite].nan_to_num()
    ):
        return False
    before, now = before[finite], now[finite]
    if not len(before):
        return True
    half = any(torch.equal(before.to(kind).float(), before) for kind in (torch.bfloat16, torch.float16))
    allowed = (TOLERANCE if same_device and not half else COARSE) * float(before.abs().max())
    return float((before - now).abs().max()) <= allowed
