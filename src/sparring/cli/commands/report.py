"""`sparring report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..display.errors import with_exit_code


@with_exit_code
def report_command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of an audit, finished or not.")],
    figures: Annotated[
        bool, typer.Option("--figures", help="Also write curves and a strip of the gallery as PDF and PNG.")
    ] = False,
) -> None:
    """Make report.html and report.json of a run again, from its records."""
    from ...audit import render
    from ..display.audit_result import show_report

    made = render(run)
    if figures:
        from ...audit.report.paper_figures import paper_figures
        from ..display.console import say

        for path in paper_figures(run):
            say(f"figure: {path}")
    show_report(made, run)
