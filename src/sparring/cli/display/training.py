"""Display of a training: its settings, its progress, and its result."""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout

import typer

from ...defenses.training import Devices, Epoch, Free, Trained
from ...defenses.training.checks import trainable_module
from ...defenses.training.plan import TrainingPlan, read_training_plan
from ...defenses.training.trainer import BEST, CHECKPOINT, LAST
from ...errors import ConfigError, RunError, SparringError
from ...experiments.train import OVERFITTED, TrainFromPlan, TrainingInputs, factory_of, load_inputs
from ...zoo.loaders.trained import SCHEME as TRAINED
from .audit_result import command_line
from .console import complain, say
from .errors import BAD, BELOW, INTERRUPTED, Settings
from .progress import TrainingProgressBars


def lead(job: TrainFromPlan) -> None:
    """Train in the first process, or go on; exits with 1 where it ended in catastrophic overfitting."""
    plan = read_training_plan(job.path)
    devices = job.devices(plan)
    resume = job.find_checkpoint()
    if job.resume and not resume:
        say("stopped before the first checkpoint: it begins again")
    inputs = load(plan, devices)
    announce(plan, inputs, devices)
    job.begin(resume)
    with stoppable(job), TrainingProgressBars(resume) as bars:
        found = job.run(plan, inputs, devices, resume, bars.step)
        bars.report_epochs(found.log)
    conclude(job, plan, found)


def follow(job: TrainFromPlan) -> None:
    """Train in a process that the first one started: it prints nothing but why it failed alone."""
    silent = open(os.devnull, "w")  # noqa: SIM115
    with ExitStack() as stack:
        stack.enter_context(silent)
        stack.enter_context(redirect_stdout(silent))
        try:
            plan = read_training_plan(job.path)
            devices = job.devices(plan)
            resume = job.resume and (job.out / CHECKPOINT).exists()
            with TrainingProgressBars(resume) as bars:
                job.run(plan, load(plan, devices), devices, resume, bars.step)
        except (RunError, ConfigError):
            raise typer.Exit(BAD) from None  # the first process fails of the same, and reports it
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None
        except SparringError as error:
            if Settings.debug:
                raise
            complain(f"a process of {job.out} stopped: {type(error).__name__}: {error}")
            raise typer.Exit(BAD) from None


def load(plan: TrainingPlan, devices: Devices) -> TrainingInputs:
    """Load what the plan names, with a bar while images are read."""
    with TrainingProgressBars(False) as bars:
        return load_inputs(plan, devices, bars.reading)


@contextmanager
def stoppable(job: TrainFromPlan) -> Iterator[None]:
    """On Ctrl-C, say how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        again = command_line() if job.resume else f"{command_line()} --resume"
        complain(f"interrupted; go on with:\n  {again}")
        raise typer.Exit(INTERRUPTED) from None


def announce(plan: TrainingPlan, inputs: TrainingInputs, devices: Devices) -> None:
    """Say what is about to be done."""
    config, val_size = plan.training, inputs.validation.val_size
    rows = len(inputs.images) - val_size
    module = trainable_module(inputs.classifier)
    weights = sum(weight.numel() for weight in module.parameters() if weight.requires_grad)
    origin = "its own weights to begin at" if plan.weights == "given" else f"fresh weights under seed {config.seed}"
    say(f"model      {inputs.loaded.name}: {weights:,} weights to train, {origin}")
    say(f"data       {inputs.data.name}: {rows:,} images to train on, {val_size:,} held out")
    if inputs.data.skipped:
        first = inputs.data.skipped[0]
        say(f"{len(inputs.data.skipped)} pictures cannot be read and are left out: {first.name}: {first.reason}")
    say(f"objective  {inputs.objective}")
    for attack in inputs.adversary.attacks:
        say(f"attack     {attack}")
    for source in inputs.adversary.sources:
        say(f"source     {source.name}")
    for attack in inputs.validation_attacks:
        say(f"validation {attack}")
    steps = max(sum(attack.total_steps for attack in inputs.adversary.at(epoch)) for epoch in range(config.epochs))
    if isinstance(inputs.objective, Free):
        steps = 0  # it runs no attack
    replays = inputs.objective.minibatch_replays
    passes = rows * (steps + 1) * replays
    work = f"{rows:,} images x ({steps} steps of attacks + 1 update)"
    if replays > 1:
        work += f" x {replays} replays"
    say(f"epochs     {config.epochs}, each {work}: about {passes:,} passes forward and backward")
    if devices.count * devices.nodes > 1:
        say(f"devices    {devices.count * devices.nodes} processes")


def conclude(job: TrainFromPlan, plan: TrainingPlan, found: Trained) -> None:
    """Say what came of it and how to use it; exit with 1 after catastrophic overfitting."""
    say(f"best  {epoch_text(found.best)}   {job.out / BEST}", "bold")
    say(f"last  {epoch_text(found.last)}   {job.out / LAST}")
    if found.stopped is None:
        say(f"ended after its {len(found.log)} epochs, {found.last.seconds:.0f} s")
    elif not found.stopped.startswith(OVERFITTED):
        say(f"stopped after {len(found.log)} epochs: {found.stopped}", "yellow")
    given = [(one.threat,) if isinstance(one.threat, str) else one.threat or () for one in plan.attack]
    certified = plan.objective.options.get("threat")
    threats = [threat for several in given for threat in several] or [certified or "linf:8/255"]
    options = " ".join(f"--threat {threat}" for threat in dict.fromkeys(threats))
    name = shlex.quote(f"{TRAINED}:{job.out}{factory_of(plan.model)}")
    again = shlex.quote(f"{job.out}-audit")
    say(f"use it as a MODEL:  sparring audit {name} DATA {options} --out {again}")
    if certified is not None:
        say(f"prove it:           sparring certify {name} DATA --threat {certified}")
    if found.learned_nothing:
        say(
            f"it has learned nothing: {found.best.clean:.1%} of the held-out images are right, and always answering "
            f"the commonest class gives {found.chance:.1%}; try another lr, more epochs or a radius that grows "
            "(eps_schedule), and see that labels, mean and std are right",
            "bold red",
        )
    if found.stopped is not None and found.stopped.startswith(OVERFITTED):
        complain(f"stopped after {len(found.log)} epochs: {found.stopped}; {job.out / BEST} is from before")
        raise typer.Exit(BELOW)


def epoch_text(epoch: Epoch) -> str:
    """Return an epoch and the accuracies after it."""
    robust = "" if math.isnan(epoch.robust) else f", {epoch.robust:.1%} under attack"
    radius = "" if epoch.acr is None else f", average certified radius {epoch.acr:.3f}"
    radius += "" if epoch.certified is None else f", {epoch.certified:.1%} certified"
    return f"epoch {epoch.epoch}: {epoch.clean:.1%} clean{robust}{radius}, on held-out images"
