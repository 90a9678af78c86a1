"""`sparring attack`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import parameters as given
from .guard import guarded
from .loading import Described, load


@guarded
def attack(
    name: Annotated[str, typer.Argument(metavar="NAME", help="An attack, as `sparring list attacks` names it.")],
    model: given.Model,
    data: given.Data,
    threat: given.Threats = None,
    steps: Annotated[int | None, typer.Option(help="Steps of the attack; its own number by default.")] = None,
    targeted: Annotated[int | None, typer.Option(metavar="CLASS", help="Make everything this class.")] = None,
    out: Annotated[Path | None, typer.Option(help="A folder for the examples and pictures of them.")] = None,
    limit: given.Limit = None,
    batch_size: given.BatchSize = None,
    seed: given.Seed = 0,
    device: given.Device = "cpu",
    mean: given.Mean = None,
    std: given.Std = None,
    size: given.Size = None,
    channels: given.Channels = None,
    classes: given.Classes = None,
) -> None:
    """Run one attack on DATA, and print what it found and what it cost."""
    from ..audit.batches import fitting
    from .single import Single, attack_called, balls

    attacks = [attack_called(name, ball, steps) for ball in balls(name, threat or [])]
    described = Described(mean, std, size, channels, classes)
    loaded, pictures = load(model, data, described, device, limit)
    Single(loaded, pictures, targeted, batch_size or fitting(pictures), seed, out).run(attacks)
