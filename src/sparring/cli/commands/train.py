"""`sparring train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..display.errors import with_exit_code


@with_exit_code
def train_command(
    plan: Annotated[
        str,
        typer.Argument(metavar="PLAN", help="A TOML file: model, data, objective, attack, ...; or of `list plans`."),
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="A folder for weights, checkpoint and log.")],
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a training that was stopped.")] = False,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; the plan's own by default.")] = None,
) -> None:
    """Train a model as PLAN says; `trained:DIR` is then a MODEL for every other command.

    Exit code 1: the training ended in catastrophic overfitting, and DIR holds the best model from before.
    """
    from ...experiments.train import TrainFromPlan, find_plan, is_first_process
    from ..display.training import follow, lead

    job = TrainFromPlan(find_plan(plan), out, resume, device)
    if is_first_process():
        lead(job)
    else:
        follow(job)
