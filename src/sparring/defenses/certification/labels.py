"""The labels that certificates are compared with."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...errors import InputError
from ...zoo.labels import class_labels


def as_labels(given: Any, count: int) -> Tensor:
    """Return labels (N,) int64 on the CPU, of a tensor, an array or a list; InputError where they are not N classes."""
    labels = class_labels("labels", given, count)
    if labels is None:
        raise InputError(f"there are {count} certificates and no label; pass the class of each image")
    return torch.from_numpy(labels)
