"""Files are written whole or not at all, and folders kept for one process at a time."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from .errors import RunError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to, and rename it to `path` once its content has reached the disk.

    The folder is made where it is missing, and the name reaches the disk too. The file's mode is that of any new file,
    as umask has it. Where anything fails, `path` stays as it was and nothing is left beside it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    try:
        partial.unlink(missing_ok=True)
        partial.touch()
        mode = partial.stat().st_mode
        yield partial
        if partial.stat().st_mode != mode:  # some writers make a file of their own, which nobody else may read
            partial.chmod(mode)
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
        sync_folder(path.parent)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


@contextmanager
def written_beside(path: Path, cure: str) -> Iterator[Path]:
    """Do as `replace_file`; RunError, which ends with `cure`, where the disk does not take the file."""
    try:
        with replace_file(path) as partial:
            yield partial
    except OSError as error:
        full = error.errno in FULL
        message = "No space left on device" if full else error.strerror or str(error)
        raise RunError(f"cannot write {path}: {message}; {'make room' if full else cure}, then repeat it") from error


def check_writable(path: Path, option: str) -> None:
    """Raise RunError, before any work, where `path` could not be written as the file that `option` names."""
    if path.is_dir():
        raise RunError(f"{option} {path} is a folder; name a file in it")
    with written_beside(path.with_name(f".{path.name}.{os.getpid()}"), f"name another file with {option}") as partial:
        partial.write_bytes(b"?")
    path.with_name(f".{path.name}.{os.getpid()}").unlink()


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk; nothing where the system has no such thing."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def locked(folder: Path, what: str, wait_s: float = 3.0) -> Iterator[None]:
    """Keep other processes that lock the folder out of it; `what` is the work that the error says is going on there.

    The lock is one of the system, and ends with the process. Systems without such locks go on without.

    Raises: RunError where another process has the folder, after waiting for one that is ending.
    """
    try:
        import fcntl

        handle = os.open(folder, os.O_RDONLY)
    except (ImportError, OSError):
        yield
        return
    try:
        end = time.monotonic() + wait_s
        while not _try_to_lock(fcntl, handle):
            if time.monotonic() > end:
                raise RunError(f"another process is at work on {what} in {folder}; wait until it ends, or stop it")
            time.sleep(0.05)
        yield
    finally:
        os.close(handle)


@contextmanager
def locked_file(path: Path, what: str) -> Iterator[None]:
    """Keep other processes out that lock this file, as `locked` does; it need not exist yet: a file beside it does."""
    lock = path.with_name(f".{path.name}.lock")
    try:
        lock.touch()
    except OSError:
        yield
        return
    with locked(lock, f"{what}, {path.name},"):
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def _try_to_lock(fcntl: Any, handle: int) -> bool:
    """Tell whether the lock could be had, or there are none on this disk."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; OSError where the disk does not take it."""
    with replace_file(path) as partial:
        partial.write_bytes(content)
