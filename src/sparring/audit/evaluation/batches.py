"""The data of an audit, taken in parts, and how large a part may be."""

from __future__ import annotations

from collections.abc import Iterator

from ...zoo import Chunk, DataSource
from ...zoo.batches import rows_of

LARGEST, VALUES = 128, 2_000_000  # images per batch at most, and numbers per batch that a small machine can take


def limit_chunks(source: DataSource, batch_size: int, limit: int | None) -> Iterator[Chunk]:
    """Yield the source's chunks, up to `limit` images."""
    left = limit
    for chunk in source.chunks(batch_size):
        if left is None or len(chunk.images) <= left:
            yield chunk
        else:
            part = slice(0, left)
            yield Chunk(chunk.images[part], names=chunk.names[part], first=chunk.first, **rows_of(chunk, part))
        if left is not None:
            left -= len(chunk.images)
            if left <= 0:
                return


def fitting_batch_size(source: DataSource) -> int:
    """Return a batch size for images as large as the source's first."""
    for chunk in source.chunks(1):
        return max(8, min(LARGEST, VALUES // max(1, chunk.images[:1].numel())))
    return LARGEST
