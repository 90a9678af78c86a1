"""`--junit FILE`: a file for a CI server, written whatever happens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ..errors import ConfigError
from .folders import written
from .guard import INTERRUPTED, judged

if TYPE_CHECKING:
    from ..audit import Report

UNFINISHED = "the audit did not end: its process was killed, or is still running"


class Verdict:
    """The file of `--junit`; without one nothing is written."""

    def __init__(self, path: Path | None, title: str) -> None:
        self.path, self.title = path, title

    def passed(self, report: Report, fail_under: float | None) -> None:
        """Write a test for each radius and finding of the report."""
        if self.path is not None:
            from ..audit.report.junit import junit

            self._write(self.path, junit(report, fail_under))

    def failed(self, message: str) -> None:
        """Write that there is no verdict, and why."""
        if self.path is not None:
            from ..audit.records.facts import now
            from ..audit.report.junit import junit_error

            self._write(self.path, junit_error(self.title, message, now()))

    @staticmethod
    def _write(path: Path, content: bytes) -> None:
        with written(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


@contextmanager
def verdict_file(path: Path | None, title: str, out: Path | None) -> Iterator[Verdict]:
    """Write the file before the work starts, so that one which cannot be written is told then; and again at the end.

    An audit that fails, is interrupted or killed leaves a file with an error.

    Raises: ConfigError for a file that the run itself writes, RunError for one that cannot be written.
    """
    if path is not None and out is not None and path.resolve().parent == out.resolve() and path.suffix != ".xml":
        raise ConfigError(f"--junit {path} lies among the files of the run; give it a name that ends with .xml")
    verdict = Verdict(path, title)
    verdict.failed(UNFINISHED)
    try:
        yield verdict
    except typer.Exit as error:
        if error.exit_code == INTERRUPTED:
            verdict.failed("interrupted")
        raise
    except BaseException as error:
        verdict.failed(judged(error)[1])
        raise
