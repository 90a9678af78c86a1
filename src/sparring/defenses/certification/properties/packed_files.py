"""Files as benchmarks ship them, plain or packed by gzip, read up to a size."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

from ....errors import InputError


def read_packed(file: Path, most: int) -> bytes:
    """Return the content of a file, unpacked where its name ends in .gz; FILE.gz is read where FILE is missing.

    Args:
        file: the path.
        most: bytes, unpacked.

    Raises:
        InputError: no such file, one that is larger, or one that gzip cannot unpack.
    """
    packed = Path(f"{file}.gz")
    if not file.is_file():
        if not packed.is_file():
            raise InputError(f"{file} is no file; name one that exists")
        file = packed
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
            content: bytes = stream.read(most + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{file} cannot be unpacked: {error}; pack it again with gzip") from error
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror or error}") from error
    if len(content) > most:
        raise InputError(f"{file} has more than {most:,} bytes, which is the most that is read")
    return content
