"""Call a function on many rows, a batch at a time, without gradients; batches are halved where memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from torch import Tensor

from .errors import OutOfMemoryError, out_of_memory

BatchResult = TypeVar("BatchResult")
BATCH_SIZE = 250


def iterate_batches(
    function: Callable[..., BatchResult], *rows: Tensor, batch_size: int = BATCH_SIZE, halve: bool = True
) -> Iterator[BatchResult]:
    """Yield function(*batch) for consecutive batches of tensors that all have N rows.

    Args:
        function: of one batch of each tensor; it is called in `torch.no_grad()`.
        rows: tensors (N, ...); one empty batch is asked for where N is 0.
        batch_size: rows of a batch.
        halve: ask again with half as many rows where memory runs out, and go on so.
    """
    start, count = 0, len(rows[0])
    while start < count or start == count == 0:
        stop = min(start + batch_size, count)
        try:
            with torch.no_grad():
                answer = function(*(each[start:stop] for each in rows))
        except (RuntimeError, MemoryError) as error:
            if not halve or not out_of_memory(error):
                raise
            if stop - start <= 1:
                raise OutOfMemoryError.for_one_image(error) from error
            batch_size = (stop - start) // 2
            continue
        yield answer
        if count == 0:
            return
        start = stop


def map_batches(function: Callable[..., Tensor], *rows: Tensor, batch_size: int = BATCH_SIZE) -> Tensor:
    """Return function(*rows) (N, ...) of tensors of N rows each, `batch_size` rows at a time, without gradients."""
    return torch.cat(list(iterate_batches(function, *rows, batch_size=batch_size)))
