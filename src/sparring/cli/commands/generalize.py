"""`sparring generalize`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..display.errors import with_exit_code
from . import options as given


@with_exit_code
def generalize_command(
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
    scale: given.Scale = None,
    labels: given.Labels = None,
    class_names: given.ClassNames = None,
    batch_size: given.BatchSize = None,
    seed: given.Seed = 0,
    device: given.Device = "cpu",
) -> None:
    """Attack every MODEL under every threat, and print what it withstands: each threat, and all of them together."""
    from ...audit.records.statistics import share
    from ...engine import Engine
    from ...experiments.generalization import GeneralizationMatrix
    from ...experiments.output import refuse_used_folder
    from ..display.audit_result import command_line
    from ..display.console import complain, say
    from ..display.progress import ProgressBars
    from ..display.tables import show_generalization
    from ..specs.data import DataOptions
    from ..specs.model_set import load_model_set
    from ..specs.threats import parse_columns

    columns = parse_columns(threat, union or [])
    refuse_used_folder(out)
    Engine(1 if batch_size is None else batch_size, seed)  # raises before anything is loaded
    found = load_model_set(models, data, device, limit, DataOptions(scale, labels, class_names))
    engine = GeneralizationMatrix.make_engine(found, batch_size, seed)
    matrix = GeneralizationMatrix(found, columns, out, engine, device, command_line())
    matrix.check()
    say(found.data.label_note)
    if found.data.skipped:
        first = found.data.skipped[0]
        say(f"{len(found.data.skipped)} images could not be read: {first.name}: {first.reason}")
    matrix.begin()
    for name in found.targets:
        try:
            with ProgressBars() as bars:
                row, seconds = matrix.run_model(name, bars)
        except KeyboardInterrupt:
            if matrix.whole is None:
                complain(f"interrupted at {name}, the first model; nothing was written")
            else:
                count, path = len(matrix.whole.models), matrix.path(".json")
                complain(f"interrupted at {name}; the {count} models before it are in {path}")
            raise
        clean, robust = share(int(row.clean), row.images), share(int(row.union()), row.images)
        line = f"clean {clean.share:.1%}, under all threats {robust.share:.1%} of {row.images} images"
        say(f"{row.models[0]}: {line}, {seconds:.0f} s")
    assert matrix.whole is not None
    show_generalization(matrix, matrix.whole)
    matrix.draw(matrix.whole)
    say(f"picture: {matrix.path('.png')} and .pdf   data: {matrix.path('.json')}", "bold")
