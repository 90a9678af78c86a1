"""`sparring transfer`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..display.errors import with_exit_code
from . import options as given


@with_exit_code
def transfer_command(
    models_and_data: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL MODEL... DATA", help="Two models or more, each also as NAME=MODEL; then the data."
        ),
    ],
    attack: Annotated[str, typer.Option(help="A gradient attack, as `sparring list attacks` names it.")] = "mi-fgsm",
    threat: given.Threats = None,
    steps: Annotated[int | None, typer.Option(help="Steps of the attack; its own number by default.")] = None,
    technique: Annotated[
        list[str] | None, typer.Option(help="di, ti, si or vmi: what helps transfer; may be given several times.")
    ] = None,
    targeted: given.TargetClass = None,
    ensemble: Annotated[
        bool, typer.Option("--ensemble", help="One row more: each model attacked through all the others together.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="A folder for transfer.json and pictures.")] = None,
    limit: given.Limit = None,
    scale: given.Scale = None,
    labels: given.Labels = None,
    class_names: given.ClassNames = None,
    batch_size: given.BatchSize = None,
    seed: given.Seed = 0,
    device: given.Device = "cpu",
) -> None:
    """Make examples on each MODEL, try them on all of them, and print who falls to whose."""
    from ...audit.evaluation.batches import fitting_batch_size
    from ...errors import ConfigError
    from ...experiments.output import refuse_used_folder
    from ...experiments.transfer_matrix import TransferMatrix
    from ..display.console import say
    from ..display.progress import ProgressBars
    from ..display.tables import show_transfer
    from ..specs.attacks import make_transfer_attacks
    from ..specs.data import DataOptions, parse_target
    from ..specs.model_set import load_model_set

    *specs, data_spec = models_and_data
    if len(specs) < 2:
        raise ConfigError(f"transfer needs two models and data; got {' '.join(models_and_data)}")
    if out is not None:
        refuse_used_folder(out)
    attacks = make_transfer_attacks(attack, threat or ["linf:16/255"], steps, technique or [])
    found = load_model_set(specs, data_spec, device, limit, DataOptions(scale, labels, class_names))
    aim = parse_target(targeted, next(iter(found.loaded.values())), found.data)
    rows = batch_size or fitting_batch_size(found.data)
    matrix = TransferMatrix(found.targets, found.data, aim, ensemble, rows, seed)
    with ProgressBars() as bars:
        totals = matrix.run(attacks, bars)
    say(found.data.label_note)
    for made, counts in zip(attacks, totals, strict=True):
        show_transfer(made, counts)
        if out is not None:
            say(f"picture: {matrix.write(made, counts, out)}", "bold")
