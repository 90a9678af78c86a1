"""`sparring fit`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..display.bounds import Bounds
from ..display.errors import with_exit_code
from ..specs.data import DataOptions, parse_target
from ..specs.models import InputOverrides, load_model_and_data
from . import options as given


@with_exit_code
def fit_command(
    name: Annotated[str, typer.Argument(metavar="ATTACK", help="As `sparring list attacks` names it: universal, ...")],
    model: given.Model,
    data: given.Data,
    out: Annotated[Path, typer.Option(metavar="FILE", help="FILE.safetensors; a picture, FILE.png, goes beside it.")],
    threat: Annotated[
        list[str] | None, typer.Option(metavar="NORM:EPS", help="linf:10/255 or l2:10: how far an image is moved.")
    ] = None,
    targeted: given.TargetClass = None,
    epochs: Annotated[
        int | None, typer.Option(help="Over the images, at most; the attack's own by default."), Bounds(1)
    ] = None,
    attack_batch_size: Annotated[
        int | None, typer.Option(help="Images per step, part of the result; the attack's own by default."), Bounds(1)
    ] = None,
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
    scale: given.Scale = None,
    labels: given.Labels = None,
    class_names: given.ClassNames = None,
) -> None:
    """Make one perturbation, or a generator of them, for all images of DATA, and measure it on images held out."""
    from ...audit.evaluation.batches import fitting_batch_size
    from ...experiments.fit import ArtifactPaths, FitArtifact
    from ...files import locked_file
    from ..display.console import complain, say
    from ..display.progress import FitProgressBars, ProgressBars
    from ..display.tables import show_fit_inputs, show_fitted
    from ..specs.attacks import make_shared_attack

    attack, paths = make_shared_attack(name, threat or [], epochs, attack_batch_size), ArtifactPaths(out)
    with locked_file(out, "a fit"):
        paths.check_free()
        overrides = InputOverrides(mean, std, size, channels, classes)
        loaded, pictures = load_model_and_data(
            model, data, overrides, device, limit, DataOptions(scale, labels, class_names)
        )
        rows = batch_size or fitting_batch_size(pictures)
        aim = parse_target(targeted, loaded, pictures)
        job = FitArtifact(attack, loaded, pictures, aim, held_out, rows, seed, paths, checkpoint, start)
        with ProgressBars("looking at the images"):
            inputs = job.prepare()
        show_fit_inputs(job, inputs)
        fitted = job.finished(inputs)
        if fitted is not None:
            say(f"{paths.artifact} is this fit, finished: it is measured and drawn")
        try:
            if fitted is None:
                with FitProgressBars() as bars:
                    fitted = job.run(inputs, bars.step)
        except KeyboardInterrupt:
            if checkpoint is not None:
                complain(f"the same command goes on from {checkpoint}")
            raise
        with ProgressBars("measuring what was made, on the images that it was fitted on and on those held out"):
            outcomes = job.measure(fitted.artifact, inputs)
        show_fitted(job, fitted, outcomes)
        if inputs.start_made is not None and inputs.start_made.get("images_sha256") != fitted.made["images_sha256"]:
            say(f"{start} was made on other images: held-out ones may be among them", "yellow")
        job.save(fitted, outcomes, inputs)
        job.draw(fitted.artifact, outcomes, inputs)
        say(f"artifact: {paths.artifact}   picture: {paths.picture}", "bold")
