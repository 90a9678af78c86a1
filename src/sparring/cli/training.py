"""What `sparring train` does: the plan's words become objects, and the training is watched, kept and told."""

from __future__ import annotations

import logging
import math
import os
import shlex
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import typer
from torch import nn

from .. import __version__
from ..access import Attack
from ..audit.records.example_files import write_atomically
from ..defenses.training import Adversary, Devices, Epoch, Free, Objective, Trained
from ..defenses.training import train as trained
from ..defenses.training.doors import check, check_labels, check_run, classes_of, module_of
from ..defenses.training.judged import watchers
from ..defenses.training.plan import Plan, read_plan
from ..defenses.training.recipe import Watch
from ..defenses.training.source import Source
from ..defenses.training.trainer import BEST, CHECKPOINT, LAST
from ..errors import ConfigError, InputError, RunError, SparringError, TargetError
from ..targets import Classifier, Target
from ..zoo import Data, LoadedModel, count_classes, load_data, load_model
from ..zoo.loaders.trained import PLAN, parted
from ..zoo.loaders.trained import SCHEME as TRAINED
from .console import complain, say
from .folders import unused, written
from .guard import BAD, BELOW, INTERRUPTED, Settings
from .progress import TrainWatch
from .training_data import source_of
from .verdict import command_line

RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "SLURM_PROCID")  # set by what starts processes
LOST = ("onnection closed", "onnection reset", "onnect timeout", "roken pipe")  # gloo's words for a peer that is gone
DEVICES = ("cpu", "cuda")
OVERFITTED = "catastrophic overfitting"


@dataclass(frozen=True)
class Subject:
    """What is trained, on what, against whom."""

    loaded: LoadedModel
    classifier: Classifier
    objective: Objective
    adversary: Adversary
    watch: Watch
    watch_attacks: tuple[Attack[Any, Any], ...]
    data: Data
    images: Source


@dataclass(frozen=True)
class Training:
    """One `sparring train`, in the first of its processes or in another."""

    path: Path
    out: Path
    resume: bool
    device: str | None

    def run(self) -> None:
        """Train, or go on; exits with 1 where it ended in catastrophic overfitting."""
        if not is_first():
            self.follow()
            return
        plan = read_plan(self.path)
        devices = self.devices(plan)
        resume = self.place()
        subject = prepared(plan, devices)
        self.announce(plan, subject, devices)
        with written(self.out):
            self.out.mkdir(parents=True, exist_ok=True)
            if not resume:
                write_atomically(self.out / PLAN, self.path.read_bytes())
        with self.stoppable(), TrainWatch(resume) as watch:
            found = self.trained(plan, subject, devices, resume, watch)
            watch.tell(found.log)
        self.conclude(plan, subject, found)

    def follow(self) -> None:
        """The work of a process that the first one started: it says nothing but why it failed alone."""
        silent = open(os.devnull, "w")  # noqa: SIM115
        with ExitStack() as stack:
            stack.enter_context(silent)
            stack.enter_context(redirect_stdout(silent))
            try:
                plan = read_plan(self.path)
                devices = self.devices(plan)
                resume = self.resume and (self.out / CHECKPOINT).exists()
                with TrainWatch(resume) as watch:
                    self.trained(plan, prepared(plan, devices), devices, resume, watch)
            except (RunError, ConfigError):
                raise typer.Exit(BAD) from None  # the first process fails of the same, and tells it
            except KeyboardInterrupt:
                raise typer.Exit(INTERRUPTED) from None
            except SparringError as error:
                if Settings.debug:
                    raise
                complain(f"a process of {self.out} stopped: {type(error).__name__}: {error}")
                raise typer.Exit(BAD) from None

    def devices(self, plan: Plan) -> Devices:
        """The plan's, on the accelerator that --device names."""
        if self.device is None:
            return plan.devices
        if self.device not in DEVICES:
            which = "; choose a GPU with CUDA_VISIBLE_DEVICES" if self.device.startswith("cuda:") else ""
            raise ConfigError(f"--device {self.device!r} is unknown to train; pass {' or '.join(DEVICES)}{which}")
        if self.device == "cuda" and not torch.cuda.is_available():
            raise ConfigError(f"--device cuda is not here: torch {torch.__version__} sees no CUDA GPU; use cpu")
        return plan.devices.model_copy(update={"accelerator": self.device})

    def place(self) -> bool:
        """Is there a checkpoint to go on from? RunError where --out is taken, or nothing was begun there."""
        if not self.resume:
            unused(self.out)
            return False
        if (self.out / CHECKPOINT).exists():
            return True
        begun = self.out / PLAN
        if not begun.exists():
            raise RunError(f"there is nothing to go on from in {self.out}: no {CHECKPOINT}; leave out --resume")
        if begun.read_bytes() != self.path.read_bytes():
            raise RunError(f"{begun} is another plan than {self.path}; choose another --out, or leave out --resume")
        say("stopped before the first checkpoint: it begins again")
        return False

    def trained(self, plan: Plan, subject: Subject, devices: Devices, resume: bool, watch: TrainWatch) -> Trained:
        with suppress(ImportError):
            import lightning_fabric  # noqa: F401  its import sets the level

            logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
        try:
            return trained(
                subject.classifier,
                subject.images,
                subject.objective,
                subject.adversary,
                recipe=plan.recipe,
                watch=subject.watch,
                watch_attacks=subject.watch_attacks,
                devices=devices,
                out=self.out,
                resume=resume,
                values={"plan": plan.model_dump(mode="json"), "sparring": __version__},
                progress=watch.step,
            )
        except RuntimeError as error:
            if not any(word in str(error) for word in LOST):
                raise
            raise RunError(f"another process of the training is gone; go on with --resume ({error})") from error

    @contextmanager
    def stoppable(self) -> Iterator[None]:
        """Ctrl-C says how to go on."""
        try:
            yield
        except KeyboardInterrupt:
            again = command_line() if self.resume else f"{command_line()} --resume"
            complain(f"interrupted; go on with:\n  {again}")
            raise typer.Exit(INTERRUPTED) from None

    def announce(self, plan: Plan, subject: Subject, devices: Devices) -> None:
        """What is about to be done."""
        recipe, count = plan.recipe, len(subject.images)
        rows = count - subject.watch.held_out
        module = module_of(subject.classifier)
        weights = sum(weight.numel() for weight in module.parameters() if weight.requires_grad)
        origin = f"fresh weights under seed {recipe.seed}" if plan.weights == "fresh" else "its own weights to begin at"
        say(f"model      {subject.loaded.name}: {weights:,} weights to train, {origin}")
        say(f"data       {subject.data.name}: {rows:,} images to train on, {subject.watch.held_out:,} held out")
        if subject.data.skipped:
            first = subject.data.skipped[0]
            say(f"{len(subject.data.skipped)} pictures cannot be read and are left out: {first.name}: {first.reason}")
        say(f"objective  {subject.objective}")
        for attack in subject.adversary.attacks:
            say(f"attack     {attack}")
        for source in subject.adversary.sources:
            say(f"source     {source.name}")
        for attack in subject.watch_attacks:
            say(f"watch      {attack}")
        steps = max(sum(attack.steps for attack in subject.adversary.at(epoch)) for epoch in range(recipe.epochs))
        if isinstance(subject.objective, Free):
            steps = 0  # it runs no attack
        passes = rows * (steps + 1) * subject.objective.replays
        work = f"{rows:,} images x ({steps} steps of attacks + 1 update)"
        if subject.objective.replays > 1:
            work += f" x {subject.objective.replays} replays"
        say(f"epochs     {recipe.epochs}, each {work}: about {passes:,} passes forward and backward")
        if devices.count * devices.nodes > 1:
            say(f"devices    {devices.count * devices.nodes} processes")

    def conclude(self, plan: Plan, subject: Subject, found: Trained) -> None:
        """What came of it, and how to use it."""
        say(f"best  {spoken(found.best)}   {self.out / BEST}", "bold")
        say(f"last  {spoken(found.last)}   {self.out / LAST}")
        if found.stopped is None:
            say(f"ended after its {len(found.log)} epochs, {found.last.seconds:.0f} s")
        elif not found.stopped.startswith(OVERFITTED):
            say(f"stopped after {len(found.log)} epochs: {found.stopped}", "yellow")
        given = [(one.threat,) if isinstance(one.threat, str) else one.threat or () for one in plan.attack]
        threats = [threat for several in given for threat in several] or ["linf:8/255"]
        options = " ".join(f"--threat {threat}" for threat in dict.fromkeys(threats))
        name = shlex.quote(f"{TRAINED}:{self.out}{factory_of(plan.model)}")
        again = shlex.quote(f"{self.out}-audit")
        say(f"use it as a MODEL:  sparring audit {name} DATA {options} --out {again}")
        if found.stopped is not None and found.stopped.startswith(OVERFITTED):
            complain(f"stopped after {len(found.log)} epochs: {found.stopped}; {self.out / BEST} is from before")
            raise typer.Exit(BELOW)


def is_first() -> bool:
    """Is this the process that speaks and writes?"""
    return all(os.environ.get(rank, "0") == "0" for rank in RANKS)


def prepared(plan: Plan, devices: Devices) -> Subject:
    """Everything that the plan names, loaded, and found to fit together."""

    def load(spec: str) -> Target[Any]:
        return load_model(spec, device=own_device(devices)).target

    objective, adversary = plan.made_objective(load), plan.made_adversary(load)
    watch, chosen = plan.made_watch()
    watch_attacks = watchers(adversary.attacks, watch.steps) if chosen is None else chosen
    loaded = load_model(plan.model)
    module_of(classifier_of(loaded))
    classifier = classifier_of(loaded)
    check(classifier, objective, adversary)
    if plan.weights == "fresh":
        reset(module_of(classifier), plan.recipe.seed, plan.model)
    data = load_data(
        plan.data.train,
        input=loaded.input,
        class_names=loaded.class_names,
        classes=count_classes(loaded, plan.data.train),
        limit=plan.data.limit,
    )
    with TrainWatch(False) as reading:
        images, labels = source_of(data, plan.recipe.workers, reading.reading)
    try:
        check_labels(labels, classes_of(classifier, images))
    except InputError as error:
        raise InputError(f"{data.name}: {error}") from error
    check_run(classifier, images, objective, adversary, plan.recipe, watch, devices)
    for attack in watch_attacks:
        attack.ball.check(images.at(torch.arange(1))[0])
    return Subject(loaded, classifier, objective, adversary, watch, watch_attacks, data, images)


def classifier_of(loaded: LoadedModel) -> Classifier:
    """The model, if there is a module to train in it."""
    target = loaded.target
    if not isinstance(target, Classifier) or not isinstance(target.model, nn.Module):
        raise TargetError(f"{loaded.name} is no torch.nn.Module, and nothing else can be trained; name another model")
    return target


def own_device(devices: Devices) -> str:
    """Where this process trains, for the models beside the one that is trained."""
    if devices.accelerator == "cpu" or not torch.cuda.is_available():
        return "cpu"
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}"


def reset(module: nn.Module, seed: int, name: str) -> None:
    """Fresh weights in every layer, drawn from the seed; ConfigError for a layer that cannot do so itself."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for place, layer in module.named_modules():
            if callable(again := getattr(layer, "reset_parameters", None)):
                again()
            elif next(layer.parameters(recurse=False), None) is not None:
                raise ConfigError(
                    f"{name}: {place or 'the model'} ({type(layer).__name__}) has weights and no reset_parameters(); "
                    'write weights = "given", and let a factory, FILE.py:FACTORY, make the model anew'
                )


def factory_of(model: str) -> str:
    """What `trained:` must be told where the model is a user's file."""
    scheme, _, rest = model.partition(":")
    if scheme == TRAINED:
        factory = parted(rest)[1]
        return "" if factory is None else f"@{factory}"
    return f"@{model}" if ".py:" in model else ""


def spoken(epoch: Epoch) -> str:
    """An epoch and what it was worth."""
    robust = "" if math.isnan(epoch.robust) else f", {epoch.robust:.1%} under attack"
    return f"epoch {epoch.epoch}: {epoch.clean:.1%} clean{robust}, on held-out images"
