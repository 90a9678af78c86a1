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
    queries: Annotated[int | None, typer.Option(help="Forward passes that the attack may ask of each image.")] = None,
    surrogate: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Grey box: gradients come from this model, answers from MODEL.")
    ] = None,
    start_on: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Begin where PGD on this model ends, at no query.")
    ] = None,
    defend: given.Defend = None,
    votes: given.Votes = 1,
    draws: given.Draws = None,
    access: given.Access = None,
    top_k: given.TopK = None,
    decimals: given.Decimals = None,
    encode: given.Encode = None,
    rate: given.Rate = None,
    lock_out: given.LockOut = None,
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
    from ..access import Budget
    from ..audit.evaluation.batches import fitting
    from ..zoo import load_model
    from .defending import adaptive, behind
    from .named import attack_called, balls
    from .service import Service
    from .single import Single, borrowed

    attacks = [attack_called(name, ball, steps) for ball in balls(name, threat or [])]
    described = Described(mean, std, size, channels, classes)
    loaded, pictures = load(model, data, described, device, limit)
    loaded = adaptive(behind(loaded, defend or [], votes), pictures, attacks[0].access, draws)
    loaded = Service(access, top_k, decimals, tuple(encode or ()), rate, lock_out).around(loaded)
    if surrogate is not None:
        loaded = borrowed(loaded, surrogate, device)
    own = None if start_on is None else load_model(start_on, device=device).target
    budget, rows = Budget(forwards=queries), batch_size or fitting(pictures)
    Single(loaded, pictures, targeted, rows, seed, out, budget, own).run(attacks)
