"""`--junit FILE`: a file for a CI server, written whatever happens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand

from ...errors import ConfigError, SparringError
from ...experiments.output import report_write_errors
from ...files import written_beside
from .errors import INTERRUPTED, classify_error

if TYPE_CHECKING:
    from ...audit import Report

UNFINISHED = "the audit did not end: its process was killed, or is still running"


class JUnitFile:
    """The file of `--junit`; without one nothing is written."""

    def __init__(self, path: Path | None, title: str) -> None:
        self.path, self.title = path, title

    def passed(self, report: Report, fail_under: float | None) -> None:
        """Write a test for each radius and finding of the report."""
        if self.path is not None:
            from ...audit.report.junit import junit_report

            self._write(self.path, junit_report(report, fail_under))

    def failed(self, message: str) -> None:
        """Write that there is no verdict, and why."""
        if self.path is not None:
            from ...audit.records.facts import utc_timestamp
            from ...audit.report.junit import junit_error

            self._write(self.path, junit_error(self.title, message, utc_timestamp()))

    @staticmethod
    def _write(path: Path, content: bytes) -> None:
        if path.exists() and not path.is_file():  # a pipe, a terminal
            with report_write_errors(path, "--junit"):
                path.write_bytes(content)
        else:
            with written_beside(path, "name another file with --junit") as partial:
                partial.write_bytes(content)


@contextmanager
def junit_file(path: Path | None, title: str, out: Path | None) -> Iterator[JUnitFile]:
    """Write the file before the work starts, so that one which cannot be written is told then; and again at the end.

    An audit that fails, is interrupted or killed leaves a file with an error.

    Raises: ConfigError for a file that the run itself writes, RunError for one that cannot be written.
    """
    if path is not None:
        check_junit_path(path, out)
    junit_out = JUnitFile(path, title)
    junit_out.failed(UNFINISHED)
    try:
        yield junit_out
    except typer.Exit as error:
        if error.exit_code == INTERRUPTED:
            junit_out.failed("interrupted")
        raise
    except BaseException as error:
        junit_out.failed(classify_error(error)[1])
        raise


def check_junit_path(path: Path, out: Path | None) -> None:
    """Raise ConfigError where the file is, or would become, something other than a JUnit file."""
    if path.is_dir():
        raise ConfigError(f"--junit {path} is a folder; name a file, as {path / 'audit.xml'}")
    place = path.resolve()
    if (
        out is not None
        and out.resolve() in (place, *place.parents)
        and (path.suffix != ".xml" or place == out.resolve())
    ):
        raise ConfigError(f"--junit {path} lies among the files of the run; give it a name that ends with .xml")
    if path.is_file():
        try:
            with path.open("rb") as file:
                beginning = file.read(1024)
        except OSError as error:
            raise ConfigError(f"--junit {path} cannot be read ({error.strerror}); name another file") from error
        if beginning.strip() and b"<testsuite" not in beginning:
            raise ConfigError(f"--junit {path} exists and is no JUnit file, and is not overwritten; name another")


# typer brings a click of its own, whose error for a wrong option is a base of the one that it shows
USAGE_ERRORS: tuple[type[Exception], ...] = tuple(
    kind for kind in typer.BadParameter.__mro__ if kind.__name__ in ("BadParameter", "UsageError")
)


class JUnitCommand(TyperCommand):
    """A command whose file for the CI server is written too where an option is wrong, as far as --junit can be told."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse as usual; where that fails, write the file and go on failing."""
        given = list(args)
        try:
            return super().parse_args(ctx, args)
        except USAGE_ERRORS as error:
            path = junit_option(given)
            if path is not None:
                out = option_value(given, "--out")
                with suppress(SparringError, OSError):  # the error that is told is that of the command line
                    check_junit_path(path, None if out is None else Path(out))
                    JUnitFile(path, f"sparring {ctx.info_name}").failed(f"usage: {error}")
            raise


def junit_option(args: list[str]) -> Path | None:
    """Return the file of --junit among the words of a command line that could not be parsed; None without one."""
    value = option_value(args, "--junit")
    return None if value is None else Path(value)


def option_value(args: list[str], name: str) -> str | None:
    """Return the last value of an option, as `--name value` or `--name=value`; None without one."""
    found = None
    for place, word in enumerate(args):
        if word == "--":
            break
        if word == name and place + 1 < len(args):
            found = args[place + 1]
        elif word.startswith(f"{name}="):
            found = word.partition("=")[2]
    return found or None
