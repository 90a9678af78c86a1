"""`sparring apply`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..display.errors import with_exit_code
from ..specs.data import DataOptions
from ..specs.models import InputOverrides
from . import options as given


@with_exit_code
def apply_command(
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
    scale: given.Scale = None,
    labels: given.Labels = None,
    class_names: given.ClassNames = None,
) -> None:
    """Apply what `sparring fit` made to the images of DATA, and write them as PNG files."""
    from ...attacks import load_artifact
    from ...audit.evaluation.batches import fitting_batch_size
    from ...experiments.apply import CONTACT_SHEET, ApplyArtifact
    from ...experiments.artifacts import describe_artifact, input_made_for
    from ...experiments.output import refuse_used_folder
    from ..display.console import say
    from ..display.tables import show_applied
    from ..specs.artifacts import load_for_artifact

    refuse_used_folder(out)
    found, made = load_artifact(artifact)
    for line in describe_artifact(found, made):
        say(line)
    overrides = InputOverrides(mean, std, size, channels, classes)
    options = DataOptions(scale, labels, class_names)
    pictures, loaded = load_for_artifact(found, input_made_for(made), data, model, overrides, device, limit, options)
    rows = batch_size or fitting_batch_size(pictures)
    counts = ApplyArtifact(found, made, pictures, out, loaded, rows).run()
    show_applied(counts, pictures, loaded)
    if loaded is not None and made.get("data") == pictures.name:
        say("it was made on images of this very data: these are no rates on held-out images", "yellow")
    say(f"{counts.pictures} pictures: {out}   at a glance: {out / CONTACT_SHEET}", "bold")
