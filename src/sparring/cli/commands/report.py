"""`sparring report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ...errors import ConfigError
from ..display.errors import with_exit_code


@with_exit_code
def report_command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of an audit, finished or not.")],
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write there, in place of RUN, which is then only read.")
    ] = None,
    figures: Annotated[
        bool, typer.Option("--figures", help="Also write curves and a strip of the gallery as PDF and PNG.")
    ] = False,
) -> None:
    """Make report.html and report.json of a run again, from its records."""
    from ...audit import render
    from ..display.audit_result import show_report

    place = run if out is None else out
    if out is not None:
        check_report_folder(run, out)
    made = render(run, place)
    if figures:
        from ...audit.report.paper_figures import paper_figures
        from ..display.console import say

        for path in paper_figures(place):
            say(f"figure: {path}")
    show_report(made, place)


def check_report_folder(run: Path, out: Path) -> None:
    """Raise ConfigError where the report of RUN would fall on something that is no report of it."""
    if out.resolve() == run.resolve():
        return
    if out.is_file():
        raise ConfigError(f"--out {out} is a file; name a folder")
    if (out / "records.sqlite").exists():
        raise ConfigError(f"--out {out} holds a run of its own; name another folder")
