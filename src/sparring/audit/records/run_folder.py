"""The run folder: its checks before it is used, and the errors where it cannot be written."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from ...errors import RunError
from ...files import FULL
from .schema import FILE


def has_run(folder: Path) -> bool:
    """Does the folder hold a run with its plan written down?"""
    if not (folder / FILE).is_file():
        return False
    connection = connect_to_read(folder)
    try:
        return bool(connection.execute("SELECT name FROM sqlite_master WHERE name = 'run'").fetchall())
    finally:
        connection.close()


def refuse_used(folder: Path) -> None:
    """Raise RunError where the folder holds something other than a run that never began and a JUnit file."""
    names = [one.name.removesuffix(".partial") for one in folder.iterdir()] if folder.is_dir() else [""]
    held = {name.split("-")[0] for name in names if not name.endswith(".xml")}
    if not folder.exists() or (held <= {FILE} and not has_run(folder)):
        return
    if not folder.is_dir():
        raise RunError(f"{folder} is a file; choose another --out")
    if (folder / FILE).exists():
        raise RunError(f"{folder} holds a run; go on with --resume, or choose another --out")
    raise RunError(f"{folder} exists and is not empty; choose another --out")


def connect(folder: Path) -> sqlite3.Connection:
    """Return the open records, for one process to write; transactions are begun by hand.

    Raises: RunError where they cannot be opened.
    """
    try:
        connection = sqlite3.connect(folder / FILE, timeout=10, isolation_level=None)
        for setting in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            connection.execute(f"PRAGMA {setting}")
    except sqlite3.OperationalError as error:
        raise writing_error(folder / FILE, f"{error}", error, begun=False) from error
    except sqlite3.DatabaseError as error:
        raise RunError(f"{folder / FILE} is no database ({error}); choose another --out") from error
    return connection


def connect_to_read(folder: Path) -> sqlite3.Connection:
    """Return the records as they are, also on a disk that cannot be written; RunError where they cannot be read.

    There SQLite cannot make the files that coordinate it with a writer, and none could be at work.
    """
    place = f"file:{quote(str((folder / FILE).resolve()).encode('utf-8', 'surrogateescape'))}"
    left = (folder / f"{FILE}-wal").exists() and (folder / f"{FILE}-wal").stat().st_size > 0
    error: sqlite3.Error | None = None
    for mode in ("mode=rw", "mode=ro") if left else ("mode=rw", "mode=ro", "immutable=1"):
        connection = sqlite3.connect(f"{place}?{mode}", uri=True, timeout=10)
        try:
            connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchall()
            return connection
        except sqlite3.OperationalError as found:
            connection.close()
            error = found
        except sqlite3.DatabaseError as found:
            connection.close()
            raise RunError(
                f"{folder / FILE} is no database ({found}); name the folder of an audit, or choose another --out"
            ) from found
    cure = (
        "copy the folder to a disk that can be written: its last audit was killed" if left else "check its permissions"
    )
    raise RunError(f"{folder / FILE} cannot be read ({error}); {cure}") from error


@contextmanager
def writing(folder: Path, begun: bool = True) -> Iterator[None]:
    """Raise a RunError, with the way to go on, where the disk does not take what is written.

    `begun`: something is recorded already.
    """
    try:
        yield
    except OSError as error:
        raise writing_error(folder, error.strerror or str(error), error, begun) from error
    except sqlite3.IntegrityError as error:
        raise RunError(f"{folder / FILE}: another process has recorded this chunk; stop one of the two") from error
    except sqlite3.DatabaseError as error:
        raise writing_error(folder / FILE, str(error), error, begun) from error


@contextmanager
def report_writing(folder: Path) -> Iterator[None]:
    """Raise a RunError, with the way to go on, where the disk does not take the report that the records have."""
    try:
        yield
    except OSError as error:
        message = "No space left on device" if error.errno in FULL else error.strerror or str(error)
        raise RunError(
            f"cannot write the report to {folder}: {message}; the records are complete: make it elsewhere with "
            "sparring report RUN --out DIR"
        ) from error


def writing_error(path: Path, message: str, error: Exception, begun: bool) -> RunError:
    """Return the error for what the disk did not take, with what is safe and how to go on."""
    full = isinstance(error, OSError) and error.errno in FULL
    if full or "disk is full" in message or "disk I/O error" in message:
        message = "No space left on device" if full else f"No space left on device ({message})"
        cure = "make room, then repeat the command"
    elif "locked" in message:
        cure = "another process is at work on it; wait until it ends, then repeat the command"
    else:
        cure = "make the folder writable, then repeat the command"
    if begun:
        return RunError(f"cannot write to {path}: {message}; every chunk recorded before is safe; {cure} with --resume")
    return RunError(f"cannot write to {path}: {message}; {cure}, or choose another --out")
