"""`--junit FILE`: a file for a CI server, written whatever happens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ...errors import ConfigError
from ...experiments.output import report_write_errors
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
        with report_write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


@contextmanager
def junit_file(path: Path | None, title: str, out: Path | None) -> Iterator[JUnitFile]:
    """Write the file before the work starts, so that one which cannot be written is told then; and again at the end.

    An audit that fails, is interrupted or killed leaves a file with an error.

    Raises: ConfigError for a file that the run itself writes, RunError for one that cannot be written.
    """
    if path is not None and out is not None and path.resolve().parent == out.resolve() and path.suffix != ".xml":
        raise ConfigError(f"--junit {path} lies among the files of the run; give it a name that ends with .xml")
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
