"""`sparring report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .guard import guarded


@guarded
def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of an audit, finished or not.")],
) -> None:
    """Make report.html and report.json of a run again, from its records."""
    from ..audit import render
    from .verdict import conclude

    conclude(render(run), run, None)
