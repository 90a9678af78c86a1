"""What the command line itself refuses, an unknown option or a value of another type, as one line."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from .console import complain
from .errors import BAD

UsageError: Any = typer.BadParameter.__base__  # click's, or that of a typer that brings its own click
HELP = "NoArgsIsHelpError"  # shows the help in place of an error


class OneLineUsageErrors(TyperGroup):
    """A group of commands whose usage errors are one line on standard error, and the exit code of bad input."""

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        """Parse the options before the command."""
        try:
            return super().make_context(*arguments, **options)
        except UsageError as error:
            raise report_usage(error) from None

    def invoke(self, ctx: Any) -> Any:
        """Parse the options of the command, and run it."""
        try:
            return super().invoke(ctx)
        except UsageError as error:
            raise report_usage(error) from None


def report_usage(error: Any) -> Any:
    """Report the error on one line, and return what ends the command."""
    if type(error).__name__ == HELP:
        return error
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "sparring"
    message = " ".join(error.format_message().split()).rstrip(".")
    complain(f"{message}; {command} --help lists what there is")
    return typer.Exit(BAD)
