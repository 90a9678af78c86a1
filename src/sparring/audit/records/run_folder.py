"""The run folder: its checks before it is used, and the errors where it cannot be written."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...errors import RunError
from .schema import FILE

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def has_run(folder: Path) -> bool:
    """Does the folder hold a run with its plan written down?"""
    if not (folder / FILE).is_file():
        return False
    connection = connect(folder)
    try:
        return bool(connection.execute("SELECT name FROM sqlite_master WHERE name = 'run'").fetchall())
    finally:
        connection.close()


def refuse_used(folder: Path) -> None:
    """Raise RunError where the folder holds something other than a run that never began and a JUnit file."""
    held = {one.name.split("-")[0] for one in folder.iterdir() if one.suffix != ".xml"} if folder.is_dir() else {""}
    if not folder.exists() or (held <= {FILE} and not has_run(folder)):
        return
    if (folder / FILE).exists():
        raise RunError(f"{folder} holds a run; go on with --resume, or choose another --out")
    raise RunError(f"{folder} exists and is not empty; choose another --out")


def connect(folder: Path) -> sqlite3.Connection:
    """Return the open records."""
    try:
        connection = sqlite3.connect(folder / FILE, timeout=10)
        for setting in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            connection.execute(f"PRAGMA {setting}")
    except sqlite3.DatabaseError as error:
        if type(error) is not sqlite3.DatabaseError:
            raise
        raise RunError(f"{folder / FILE} is no database ({error}); choose another --out") from error
    return connection


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Raise a RunError, with the way to go on, where the disk does not take what is written."""
    way_on = "every chunk recorded before is safe; make room, then repeat the command with --resume"
    try:
        yield
    except OSError as error:
        message = "No space left on device" if error.errno in FULL else error.strerror or str(error)
        raise RunError(f"cannot write to {folder}: {message}; {way_on}") from error
    except sqlite3.IntegrityError as error:
        raise RunError(f"{folder / FILE}: another process has recorded this chunk; stop one of the two") from error
    except sqlite3.DatabaseError as error:
        full = "disk is full" in str(error) or "disk I/O error" in str(error)
        message = f"No space left on device ({error})" if full else str(error)
        raise RunError(f"cannot write to {folder / FILE}: {message}; {way_on}") from error
