"""`sparring fit`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import parameters as given
from .guard import guarded
from .loading import Described, load


@guarded
def fit(
    name: Annotated[str, typer.Argument(metavar="ATTACK", help="As `sparring list attacks` names it: universal, ...")],
    model: given.Model,
    data: given.Data,
    out: Annotated[Path, typer.Option(metavar="FILE", help="FILE.safetensors; a picture, FILE.png, goes beside it.")],
    threat: Annotated[
        list[str] | None, typer.Option(metavar="NORM:EPS", help="linf:10/255 or l2:10: how far an image is moved.")
    ] = None,
    targeted: Annotated[
        int | None, typer.Option("--targeted", "--target", metavar="CLASS", help="Make everything this class.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Over the images, at most; the attack's own by default.")] = None,
    portion: Annotated[int | None, typer.Option(help="Images per step; the attack's own by default.")] = None,
    held_out: Annotated[float, typer.Option(help="Share of the images that it is measured on and not made on.")] = 0.3,
    checkpoint: Annotated[Path | None, typer.Option(metavar="DIR", help="Go on from there after a stop.")] = None,
    start: Annotated[
        Path | None, typer.Option("--from", metavar="FILE", help="An artifact of the same kind to begin at.")
    ] = None,
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
    """Make one perturbation, or a generator of them, for all images of DATA, and measure it on images held out."""
    from ..audit.evaluation.batches import fitting
    from .fitting import Fit, Places
    from .named import shared_attack_called

    attack, places = shared_attack_called(name, threat or [], epochs, portion), Places(out)
    places.free()
    loaded, pictures = load(model, data, Described(mean, std, size, channels, classes), device, limit)
    rows = batch_size or fitting(pictures)
    Fit(attack, loaded, pictures, targeted, held_out, rows, seed, places, checkpoint, start).run()
