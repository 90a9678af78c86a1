"""`sparring audit`."""

from __future__ import annotations

from typing import Annotated

import typer

from ..errors import ConfigError, ThreatError
from . import parameters as given
from .guard import guarded
from .loading import Described, load
from .verdict import command_line, conclude, resumable


@guarded
def audit(
    model: given.Model,
    data: given.Data,
    out: given.Out,
    threat: given.Threats = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")] = False,
    fail_under: Annotated[
        float | None, typer.Option(help="Exit with 1 when the lowest robust accuracy is below this share.")
    ] = None,
    limit: given.Limit = None,
    batch_size: given.BatchSize = None,
    seed: given.Seed = 0,
    restarts: Annotated[int, typer.Option(help="Restarts of PGD.")] = 5,
    steps: Annotated[int, typer.Option(help="Steps of PGD.")] = 40,
    queries: Annotated[int, typer.Option(help="Queries of the black-box attack, per image.")] = 1000,
    device: given.Device = "cpu",
    access: Annotated[
        str | None, typer.Option(help="scores or decisions: audit as a black box. Default: gradients too.")
    ] = None,
    mean: given.Mean = None,
    std: given.Std = None,
    size: given.Size = None,
    channels: given.Channels = None,
    classes: given.Classes = None,
) -> None:
    """Measure the robust accuracy of MODEL on DATA, and write a report."""
    if fail_under is not None and not 0 <= fail_under <= 1:
        raise ConfigError(f"--fail-under {fail_under:g} is no share; write 0.40 for 40 %")
    if not threat:
        raise ThreatError("no threat is given; add --threat linf:4/255, or --threat l2:0.5")
    from ..audit import audit as conduct
    from ..audit import parse_all
    from .progress import ConsoleWatch

    threats = parse_all(threat)
    loaded, pictures = load(model, data, Described(mean, std, size, channels, classes), device, limit)
    with ConsoleWatch() as watch, resumable(out):
        report = conduct(
            loaded,
            pictures,
            threats=threats,
            out=out,
            access=access,
            seed=seed,
            limit=limit,
            batch_size=batch_size,
            steps=steps,
            restarts=restarts,
            queries=queries,
            resume=resume,
            command=command_line(),
            watch=watch,
        )
    conclude(report, out, fail_under)
