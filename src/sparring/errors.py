"""The error classes, all in one tree. Each message names the object, the value and the cure.

SparringError
├── InputError      images, labels or targets that cannot be used
├── ThreatError     a ball or an epsilon that makes no sense for these images
├── TargetError     a model that cannot be judged or attacked as it is
│   └── LockedOut   a service that answers no more
├── UserCodeError   code of the user's - a model, a factory, a data set - raised an error or called sys.exit()
├── GoalError       a goal that the task or the attack cannot serve
├── AccessError     an attack asks for more than the target grants
├── BudgetError     a budget that no attack could keep
├── AssetError      a package, weights file or data set that is not installed
├── ConfigError     an unknown name or an option out of range
└── RunError        a run folder, checkpoint or record that cannot be read or written
    └── OutOfMemoryError   memory that ran out, and no smaller batch helps
"""

from __future__ import annotations

import sys
import sysconfig
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from types import TracebackType

PACKAGE = Path(__file__).resolve().parent
USER_MODULE_PREFIX = "sparring_user_"  # how modules of FILE.py are called
USER_FILE_SHA256 = "_sparring_sha256"  # their attribute: of the file that a module was made from


class SparringError(Exception):
    """The root of the tree: catch this to catch all."""


class InputError(SparringError):
    """Images, labels or targets that cannot be used."""


class ThreatError(SparringError):
    """A ball or an epsilon that makes no sense for these images."""


class TargetError(SparringError):
    """A model that cannot be judged or attacked as it is."""


class LockedOut(TargetError):
    """A service that answers no more: the run ends there, with what it has found."""


class UserCodeError(SparringError):
    """Code of the user's - a model, a factory, a data set - raised an error or called sys.exit()."""


class GoalError(SparringError):
    """A goal that the task or the attack cannot serve."""


class AccessError(SparringError):
    """An attack asks for more than the target grants."""


class BudgetError(SparringError):
    """A budget that no attack could keep."""


class AssetError(SparringError):
    """A package, weights file or data set that is not installed."""


class ConfigError(SparringError):
    """An unknown name or an option out of range."""


class RunError(SparringError):
    """A run folder, checkpoint or record that cannot be read or written."""


class OutOfMemoryError(RunError):
    """Memory that ran out, and no smaller batch helps."""

    @classmethod
    def for_one_image(cls, error: BaseException) -> OutOfMemoryError:
        """Return the error of what needed too much for a single image."""
        told = f"memory ran out, also for a single image ({error})"
        return cls(f"{told}; take smaller images, a smaller model or a larger machine")


class user_code:
    """Run code of the user's: what it raises, sys.exit() too, becomes a UserCodeError that begins with `what`.

    Ctrl-C, our own errors, memory that runs out and the types `passed` are raised as they are.
    """

    __slots__ = ("passed", "what")

    def __init__(self, what: str, *passed: type[BaseException]) -> None:
        self.what, self.passed = what, passed

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is None or out_of_memory(error):
            return
        if not isinstance(error, (SparringError, KeyboardInterrupt, GeneratorExit, *self.passed)):
            raise UserCodeError(f"{self.what} {described(error)}") from error


@contextmanager
def memory_errors(what: str, cure: str) -> Iterator[None]:
    """Raise OutOfMemoryError, which says `what` ran out of memory and the cure, where memory runs out inside."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        raise OutOfMemoryError(f"{what} ran out of memory {cure}: {error}") from error


def out_of_memory(error: BaseException) -> bool:
    """Tell whether a device, or the machine, ran out of memory."""
    text = words_of(error).lower()
    told = ("can't allocate memory", "out of memory", "alloc_failed")
    named = any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__)  # torch's, without importing it
    return named or isinstance(error, MemoryError) or any(words in text for words in told)


def user_frame(trace: TracebackType | None) -> str | None:
    """Return `FILE.py, line N,` where the innermost code that belongs to no library is not ours; else None."""
    found: str | None = None
    for frame, line in traceback.walk_tb(trace):
        file, module = frame.f_code.co_filename, str(frame.f_globals.get("__name__"))
        if file.startswith("<") or (belongs_to_library(file) and not module.startswith(USER_MODULE_PREFIX)):
            continue
        ours = Path(file).resolve().is_relative_to(PACKAGE)
        found = None if ours else f"{file}, line {line},"
    return found


def belongs_to_library(file: str) -> bool:
    """Tell whether it is a file of Python or of an installed package, ours apart."""
    path = Path(file).resolve()
    if path.is_relative_to(PACKAGE):
        return False
    roots = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    return any(path.is_relative_to(Path(root).resolve()) for root in roots if root) or file == sys.argv[0]


def described(error: BaseException) -> str:
    """Say what foreign code did: `raised ValueError: no weights here`, or `called sys.exit(3)` and the cure."""
    if isinstance(error, SystemExit):
        told = "" if error.code is None else repr(error.code)
        return f"called sys.exit({told}); put what runs as a script under `if __name__ == '__main__':`"
    told = words_of(error)
    return f"raised {type(error).__name__}: {told}" if told else f"raised {type(error).__name__}"


def words_of(error: BaseException) -> str:
    """Return the text of foreign code's error; nothing where that fails itself."""
    try:
        return str(error)
    except Exception:
        return ""


def nearest(name: str, names: Iterable[str]) -> str:
    """``" Did you mean 'x'?"`` for the closest of `names`, or an empty string."""
    known = list(names)
    swapped = [one for one in known if sorted(one.lower()) == sorted(name.lower())]  # pdg is pgd, and not pdpgd
    close = swapped or get_close_matches(name.lower(), known, n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else ""
