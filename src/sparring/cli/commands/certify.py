"""`sparring certify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..display.bounds import Bounds
from ..display.errors import with_exit_code
from ..specs.data import DataOptions
from ..specs.models import InputOverrides, load_model_and_data
from . import options as given


@with_exit_code
def certify_command(
    model: given.Model,
    data: given.Data,
    threat: Annotated[
        list[str] | None,
        typer.Option(metavar="NORM:EPS,...", help="As linf:0.05,0.1 or l2:0.5. May be given several times."),
    ] = None,
    timeout: Annotated[
        float, typer.Option(help="Seconds of branch and bound for each image and radius; 0: none."), Bounds(0)
    ] = 60.0,
    mask: given.Mask = None,
    out: Annotated[Path | None, typer.Option(help="A folder for the verdicts and counterexamples.")] = None,
    limit: given.Limit = None,
    batch_size: Annotated[int, typer.Option(help="Images that are worked on, and recorded, together."), Bounds(1)] = 16,
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
    """Prove for each image of DATA that nothing within the threat changes its class, or find what does."""
    from ...errors import ThreatError
    from ...experiments.certify import ASSUMPTIONS, CertifyDataset
    from ...threats import parse_threat_list
    from ..display.console import say
    from ..display.progress import ProgressBars
    from ..display.tables import show_certified
    from ..specs.masks import load_mask

    threats = parse_threat_list(threat or [])
    if len(threats) != 1:
        raise ThreatError(f"certify needs one norm, and there are {len(threats)}; add --threat linf:2/255,4/255")
    overrides = InputOverrides(mean, std, size, channels, classes)
    loaded, pictures = load_model_and_data(
        model, data, overrides, device, limit, DataOptions(scale, labels, class_names)
    )
    free = load_mask(mask, loaded, pictures, limit)
    experiment = CertifyDataset(loaded, pictures, threats[0], timeout, batch_size, out, free)
    with ProgressBars("capturing the network") as bars:
        counts = experiment.run(bars)
    show_certified(experiment, counts)
    say(ASSUMPTIONS)
    if out is not None:
        say(f"verdicts: {out / 'certificates.csv'}   sums: {out / 'certificates.json'}", "bold")
