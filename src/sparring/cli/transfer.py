"""`sparring transfer`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import parameters as given
from .guard import guarded


@guarded
def transfer(
    models_and_data: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL MODEL... DATA", help="Two models or more, each also as NAME=MODEL; then the data."
        ),
    ],
    attack: Annotated[str, typer.Option(help="A gradient attack, as `sparring list attacks` names it.")] = "mi-fgsm",
    threat: given.Threats = None,
    steps: Annotated[int | None, typer.Option(help="Steps of the attack; its own number by default.")] = None,
    trick: Annotated[
        list[str] | None, typer.Option(help="di, ti, si or vmi: what helps transfer; may be given several times.")
    ] = None,
    targeted: Annotated[int | None, typer.Option(metavar="CLASS", help="Make everything this class.")] = None,
    ensemble: Annotated[
        bool, typer.Option("--ensemble", help="One row more: each model attacked through all the others together.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="A folder for transfer.json and pictures.")] = None,
    limit: given.Limit = None,
    batch_size: given.BatchSize = None,
    seed: given.Seed = 0,
    device: given.Device = "cpu",
) -> None:
    """Make examples on each MODEL, try them on all of them, and print who falls to whose."""
    from .matrix import Matrix, Request

    request = Request(attack, threat or ["linf:16/255"], steps, trick or [], targeted, ensemble, seed)
    Matrix(models_and_data, request, out, limit, batch_size, device).run()
