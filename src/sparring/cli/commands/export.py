"""`sparring export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..display.console import say
from ..display.errors import with_exit_code


@with_exit_code
def export_command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of an audit, finished or not.")],
    to: Annotated[str, typer.Option(help="parquet, csv or json.")],
    out: Annotated[Path | None, typer.Option(help="The file; RUN/results.FORM when not given.")] = None,
) -> None:
    """Write every row of a run's records as one table."""
    from ...audit.records.export import export as exported

    say(exported(run, to, out))
