"""`sparring generalize`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import parameters as given
from .guard import guarded


@guarded
def generalize(
    models: Annotated[
        list[str], typer.Argument(metavar="MODEL...", help="The rows: each MODEL, or NAME=MODEL to call it NAME.")
    ],
    data: Annotated[
        str,
        typer.Option(metavar="DATA", help="zoo:NAME, folder:DIR, npz:FILE or FILE.py:FACTORY; with labels."),
    ],
    threat: Annotated[
        list[str],
        typer.Option(metavar="NORM:EPS[,EPS...]", help="The columns: linf:0.1,0.3, l2:2; may be given several times."),
    ],
    out: Annotated[Path, typer.Option(help="A folder for generalization.json, .png and .pdf.")],
    union: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NORM:EPS,...", help="One more union, as linf:0.3,l2:2,l1:10, beside that of all; may be repeated."
        ),
    ] = None,
    limit: given.Limit = None,
    batch_size: given.BatchSize = None,
    seed: given.Seed = 0,
    device: given.Device = "cpu",
) -> None:
    """Attack every MODEL under every threat, and print what it withstands: each threat, and all of them together."""
    from .generalizing import Generalize
    from .threat_columns import Columns

    Generalize(models, data, Columns.typed(threat, union or []), out, limit, batch_size, seed, device).run()
