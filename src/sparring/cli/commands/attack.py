"""`sparring attack`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from ..display.errors import BELOW, with_exit_code
from ..specs.data import DataOptions, parse_targeted
from ..specs.models import InputOverrides, load_model_and_data, load_start_model
from . import options as given


@with_exit_code
def attack_command(
    name: Annotated[
        str,
        typer.Argument(
            metavar="ATTACK[,ATTACK...]",
            help="As `sparring list attacks` names it, also with parameters, as pgd:steps=10,n_restarts=3, or "
            "FILE.py:NAME of your own. Several are compared on the same images.",
        ),
    ],
    model: given.Model,
    data: given.Data,
    threat: given.Threats = None,
    steps: Annotated[int | None, typer.Option(help="Steps of the attack; its own number by default.")] = None,
    targeted: given.Targeted = None,
    goal: Annotated[
        str | None, typer.Option(help="Of a face verifier: dodge, impersonate, evade or identify; else misclassify.")
    ] = None,
    far: given.FalseAcceptRates = None,
    threshold: given.VerificationThreshold = None,
    attacked: given.AttackedPersons = None,
    calibration: given.CalibrationPersons = None,
    probes: given.Probes = None,
    rank: given.Rank = None,
    metric: given.Metric = None,
    aligned: given.Aligned = False,
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
    mask: given.Mask = None,
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
    scale: given.Scale = None,
    labels: given.Labels = None,
    class_names: given.ClassNames = None,
) -> None:
    """Run attacks on DATA, each on all its images, and print what they found and what they cost."""
    from ...access import Budget
    from ...audit.evaluation.batches import fitting_batch_size
    from ...experiments.attack_dataset import AttackDataset
    from ..display.console import complain, say
    from ..display.progress import ProgressBars
    from ..display.tables import show_attacks
    from ..specs.attacks import make_attacks
    from ..specs.defenses import add_defense, views_of_attacks
    from ..specs.masks import load_mask
    from ..specs.models import add_surrogate
    from ..specs.services import ServiceOptions
    from ..specs.trials import load_trials

    attacks = make_attacks(name, threat or [], steps)
    overrides = InputOverrides(mean, std, size, channels, classes)
    service = ServiceOptions(access, top_k, decimals, tuple(encode or ()), rate, lock_out)
    options = DataOptions(scale, labels, class_names)
    named = {"goal": goal, "far": far, "threshold": threshold, "attacked": attacked, "calibration": calibration,
             "probes": probes, "rank": rank, "metric": metric, "aligned": aligned}  # fmt: skip
    if any(named.values()):
        of_classifier = {"targeted": targeted, "surrogate": surrogate, "start_on": start_on, "defend": defend}
        loaded, pictures = load_trials(model, data, named, overrides, options, device, limit, of_classifier)
        aim, service = None, replace(service, scores=pictures.scores)
    else:
        loaded, pictures = load_model_and_data(model, data, overrides, device, limit, options)
        aim = parse_targeted(targeted, loaded, pictures)
    views = service.around(*views_of_attacks(add_defense(loaded, defend or [], votes), pictures, attacks, draws))
    if surrogate is not None:
        views = [add_surrogate(view, surrogate, device) for view in views]
    loaded = views[0]
    start_model = None if start_on is None else load_start_model(start_on, loaded, pictures, device)
    budget, rows = Budget(forwards=queries), batch_size or fitting_batch_size(pictures)
    free = load_mask(mask, loaded, pictures, limit)
    seen = views[-1].target
    experiment = AttackDataset(loaded, pictures, aim, rows, seed, out, budget, start_model, free, gradients_of=seen)
    with ProgressBars() as bars:
        totals = experiment.run(attacks, bars)
    show_attacks(experiment, attacks, totals)
    if out is not None:
        experiment.write_curves(attacks, totals)
        say(f"examples: {out}   tables: {out / 'attacks.csv'}, {out / 'images.csv'}, {out / 'attacks.json'}", "bold")
    if any(total.unanswered for total in totals):
        complain(
            "the model answered NaN or infinity, which is never robust: repair the model, or leave such images out"
        )
        raise typer.Exit(BELOW)
