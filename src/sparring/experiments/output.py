"""Output paths of commands: existing files are not overwritten, and disk errors are reported."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import RunError
from ..files import FULL


def refuse_used_folder(out: Path) -> None:
    """Raise RunError where the folder holds something already."""
    if out.is_dir():
        if any(out.iterdir()):
            raise RunError(f"{out} exists and is not empty; choose another --out")
    elif out.exists():
        raise RunError(f"{out} is a file; choose another --out")


@contextmanager
def report_write_errors(out: Path, option: str = "--out") -> Iterator[None]:
    """Raise a RunError where the disk does not take what is written to the place that `option` names."""
    try:
        yield
    except OSError as error:
        message = error.strerror or str(error)
        cure = f"free some space or choose another {option}" if error.errno in FULL else f"choose another {option}"
        raise RunError(f"cannot write {out}: {message}; {cure}") from error
