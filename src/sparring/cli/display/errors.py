"""Display of errors as one red line, with the exit code that belongs to them."""

from __future__ import annotations

import functools
import os
import sys
import traceback
from collections.abc import Callable
from typing import ParamSpec

import typer

from ...errors import OutOfMemoryError, SparringError, UserCodeError, described, out_of_memory, user_frame
from .bounds import check_numbers
from .console import complain

P = ParamSpec("P")
FINE, BELOW, BAD, FAILED, FAULT, INTERRUPTED = 0, 1, 2, 3, 70, 130
CODES = {
    FINE: "fine",
    BELOW: "below --fail-under, or a severe finding is open (train: catastrophic overfitting; attack: NaN; "
    "certify: a property that is not proven)",
    BAD: "bad input: an option, a file or a model that cannot be used as it is",
    FAILED: "the model or other code of yours raised an error or called sys.exit()",
    FAULT: "a fault of sparring itself",
    INTERRUPTED: "interrupted (Ctrl-C, or nobody reads the output any more); most commands go on when repeated",
}
EPILOG = "\b\nExit codes:\n" + "\n".join(f"  {code:3}  {meaning}" for code, meaning in CODES.items())


class Settings:
    """What the options before the command say."""

    debug = False


def with_exit_code(command: Callable[P, None]) -> Callable[P, None]:
    """Return the command, ending with an exit code of the table whatever happens in it."""

    @functools.wraps(command)
    def run(*arguments: P.args, **options: P.kwargs) -> None:
        try:
            check_numbers(command, options)
            command(*arguments, **options)
        except BaseException as error:
            ours = user_frame(error.__traceback__) is None
            if ours and isinstance(error, (typer.Exit, typer.Abort, typer.BadParameter)):
                raise
            if ours and isinstance(error, BrokenPipeError):  # who read the output has gone
                sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - for what is flushed at the end
                raise typer.Exit(INTERRUPTED) from None
            raise typer.Exit(report_error(error)) from None

    return run


def report_error(error: BaseException) -> int:
    """Report the error on standard error, and return its exit code."""
    code, words = classify_error(error)
    if code == FAULT or (Settings.debug and code != INTERRUPTED):
        traceback.print_exception(error)
    complain(words)
    return code


def classify_error(error: BaseException) -> tuple[int, str]:
    """Return the exit code of an error, and what to say of it."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED, "interrupted"
    if isinstance(error, UserCodeError):
        return FAILED, f"{type(error).__name__}: {error}"
    if isinstance(error, OutOfMemoryError):
        return FAILED, f"{type(error).__name__}: {error}"
    if isinstance(error, SparringError):
        return BAD, f"{type(error).__name__}: {error}"
    if isinstance(error, MemoryError) or out_of_memory(error):
        return FAILED, f"out of memory, also for a single image ({error}); take smaller images or a larger machine"
    where = user_frame(error.__traceback__)
    if where is None and isinstance(error, OSError) and error.filename is not None:
        return BAD, f"{error.filename!s:.200} cannot be used: {error.strerror}"
    if where is not None or isinstance(error, SystemExit):
        return FAILED, f"{where or 'code of the model or the data'} {described(error)}"
    return FAULT, f"this is a fault of sparring ({described(error)}); please report it with the lines above"
