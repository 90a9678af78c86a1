"""Errors of ours become one red line and an exit code."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec

import typer

from ..errors import SparringError
from .console import complain

P = ParamSpec("P")
BELOW, BAD, INTERRUPTED = 1, 2, 130


class Settings:
    """What the options before the command say."""

    debug = False


def guarded(command: Callable[P, None]) -> Callable[P, None]:
    """The command, with errors told in a line: 2 for bad input, 130 for Ctrl-C."""

    @functools.wraps(command)
    def run(*arguments: P.args, **options: P.kwargs) -> None:
        try:
            command(*arguments, **options)
        except SparringError as error:
            if Settings.debug:
                raise
            complain(f"{type(error).__name__}: {error}")
            raise typer.Exit(BAD) from None
        except KeyboardInterrupt:
            complain("interrupted")
            raise typer.Exit(INTERRUPTED) from None

    return run
