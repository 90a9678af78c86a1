"""`sparring apply`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import parameters as given
from .guard import guarded
from .loading import Described


@guarded
def apply(
    artifact: Annotated[Path, typer.Argument(metavar="ARTIFACT", help="A file that `sparring fit` wrote.")],
    data: given.Data,
    out: Annotated[Path, typer.Option(metavar="DIR", help="A folder for the perturbed pictures.")],
    model: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Count how many of them this model is fooled by.")
    ] = None,
    limit: given.Limit = None,
    batch_size: given.BatchSize = None,
    device: given.Device = "cpu",
    mean: given.Mean = None,
    std: given.Std = None,
    size: given.Size = None,
    channels: given.Channels = None,
    classes: given.Classes = None,
) -> None:
    """Apply what `sparring fit` made to the images of DATA, and write them as PNG files."""
    from .applying import Apply

    Apply(artifact, data, out, model, limit, batch_size, device, Described(mean, std, size, channels, classes)).run()
