"""Train a model as a plan says: what `sparring train` does."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .. import __version__
from ..access import Attack
from ..defenses.training import (
    Adversary,
    Devices,
    Objective,
    Trained,
    TrainingProgress,
    Validation,
    ibp_initialization,
    train,
)
from ..defenses.training.checks import check_labels, check_parts, check_run, classes_of, trainable_module
from ..defenses.training.dataset import IndexedData
from ..defenses.training.loading import load_training_data
from ..defenses.training.plan import TrainingPlan, read_training_plan
from ..defenses.training.trainer import CHECKPOINT
from ..defenses.training.validation import choose_validation_attacks
from ..errors import ConfigError, InputError, RunError, TargetError, nearest
from ..files import write_atomically
from ..storage import read_toml
from ..targets import Classifier, Target
from ..targets.optional_imports import import_optional
from ..zoo import Data, LoadedModel, count_classes, load_data, load_model, plan_path, plans
from ..zoo.class_names import read_class_names
from ..zoo.loaders.trained import PLAN, is_own_file, split_trained_spec
from ..zoo.loaders.trained import SCHEME as TRAINED
from ..zoo.user_attack import user_attack
from .output import refuse_used_folder, report_write_errors

RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "SLURM_PROCID")  # set by what starts processes
LOST = ("onnection closed", "onnection reset", "onnect timeout", "roken pipe")  # gloo's words for a peer that is gone
DEVICES = ("cpu", "cuda")
OVERFITTED = "catastrophic overfitting"


@dataclass(frozen=True)
class TrainingInputs:
    """Everything that a plan names, loaded."""

    loaded: LoadedModel
    classifier: Classifier
    objective: Objective
    adversary: Adversary
    validation: Validation
    validation_attacks: tuple[Attack[Any, Any], ...]
    data: Data
    images: IndexedData


@dataclass(frozen=True)
class TrainFromPlan:
    """Run one training from a plan into a folder, in the first of its processes or in another.

    Args:
        path: the TOML file of the plan. out: a folder for weights, checkpoint and log.
        resume: go on with a training that was stopped. device: "cpu" or "cuda"; None: the plan's own.
    """

    path: Path
    out: Path
    resume: bool
    device: str | None

    def devices(self, plan: TrainingPlan) -> Devices:
        """Return the plan's devices, on the accelerator that `device` names."""
        if self.device is None:
            return plan.devices
        if self.device not in DEVICES:
            which = "; choose a GPU with CUDA_VISIBLE_DEVICES" if self.device.startswith("cuda:") else ""
            raise ConfigError(f"--device {self.device!r} is unknown to train; pass {' or '.join(DEVICES)}{which}")
        if self.device == "cuda" and not torch.cuda.is_available():
            raise ConfigError(f"--device cuda is not here: torch {torch.__version__} sees no CUDA GPU; use cpu")
        return plan.devices.model_copy(update={"accelerator": self.device})

    def find_checkpoint(self) -> bool:
        """Tell whether there is a checkpoint to go on from.

        Raises: RunError where `out` is taken, or nothing was begun there.
        """
        if not self.resume:
            refuse_used_folder(self.out)
            return False
        if (self.out / CHECKPOINT).exists():
            return True
        begun = self.out / PLAN
        if not begun.exists():
            raise RunError(f"there is nothing to go on from in {self.out}: no {CHECKPOINT}; leave out --resume")
        if read_training_plan(begun) != read_training_plan(self.path.absolute()):
            raise RunError(f"{begun} is another plan than {self.path}; choose another --out, or leave out --resume")
        return False

    def begin(self, resume: bool) -> None:
        """Make the folder, and keep the plan in it, with the folder that its paths are relative to.

        Raises: AssetError where the packages of a training are missing, before anything is written.
        """
        import_optional("lightning_fabric", "training", "train")
        with report_write_errors(self.out):
            self.out.mkdir(parents=True, exist_ok=True)
            if not resume:
                given = self.path.read_bytes()
                from_here = f"folder = {json.dumps(str(self.path.absolute().parent))}\n".encode()
                named = "folder" in read_toml(self.path, "a training plan")
                write_atomically(self.out / PLAN, given if named else from_here + given)

    def run(
        self,
        plan: TrainingPlan,
        inputs: TrainingInputs,
        devices: Devices,
        resume: bool,
        progress: Callable[[TrainingProgress], None] | None = None,
    ) -> Trained:
        """Train as the plan says; RunError where another process of the training is gone."""
        with suppress(ImportError):
            import lightning_fabric  # noqa: F401  its import sets the level

            logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
        try:
            return train(
                inputs.classifier,
                inputs.images,
                inputs.objective,
                inputs.adversary,
                config=plan.training,
                validation=inputs.validation,
                validation_attacks=inputs.validation_attacks,
                devices=devices,
                out=self.out,
                resume=resume,
                values={"plan": plan.model_dump(mode="json"), "sparring": __version__},
                progress=progress,
            )
        except RuntimeError as error:
            if not any(word in str(error) for word in LOST):
                raise
            raise RunError(f"another process of the training is gone; go on with --resume ({error})") from error


def find_plan(name: str) -> Path:
    """Return the file of a plan: that path, or the zoo's plan of that name.

    Raises: ConfigError where it is neither, with the nearest name.
    """
    path, known = Path(name).expanduser(), plan_path(name)
    if known is not None and not path.is_file():
        return known
    if not path.exists() and path.suffix != ".toml":
        names = list(plans())
        raise ConfigError(
            f"{name} is neither a file nor a plan of the zoo ({', '.join(names)}); write one as docs/training.md says."
            f"{nearest(name, names)}"
        )
    return path


def is_first_process() -> bool:
    """Tell whether this is the process that prints and writes."""
    return all(os.environ.get(rank, "0") == "0" for rank in RANKS)


def load_inputs(plan: TrainingPlan, devices: Devices, progress: Callable[[int, int], None]) -> TrainingInputs:
    """Load everything that the plan names, and check that it fits together.

    `progress` is called with the number of images read, and with how many there are.
    """

    def load(spec: str) -> Target[Any]:
        return load_model(spec, device=own_device(devices)).target

    objective, adversary = plan.make_objective(load), plan.make_adversary(load, user_attack)
    validation, chosen = plan.make_validation(user_attack)
    attacks = choose_validation_attacks(adversary.attacks, validation.steps) if chosen is None else chosen
    loaded = load_model(plan.model)
    classifier = classifier_of(loaded)
    check_parts(classifier, objective, adversary)
    if plan.weights != "given":
        reset_weights(trainable_module(classifier), plan.training.seed, plan.model, ibp=plan.weights == "ibp")
    if plan.data.class_names is not None:
        loaded = replace(loaded, class_names=read_class_names(Path(plan.data.class_names)))
    data = load_data(
        plan.data.train,
        input=loaded.input,
        class_names=loaded.class_names,
        classes=count_classes(loaded, plan.data.train, plan.data.scale),
        limit=plan.data.limit,
        scale=plan.data.scale,
        labels=plan.data.labels,
    )
    images, labels = load_training_data(data, plan.training.workers, progress)
    try:
        check_labels(labels, classes_of(classifier, images))
    except InputError as error:
        raise InputError(f"{data.name}: {error}") from error
    check_run(classifier, images, objective, adversary, plan.training, validation, devices)
    for attack in attacks:
        attack.ball.check(images.at(torch.arange(1))[0])
    return TrainingInputs(loaded, classifier, objective, adversary, validation, attacks, data, images)


def classifier_of(loaded: LoadedModel) -> Classifier:
    """Return the model, if there is a module to train in it."""
    target = loaded.target
    if not isinstance(target, Classifier) or not isinstance(target.model, nn.Module):
        raise TargetError(f"{loaded.name} is no torch.nn.Module, and nothing else can be trained; name another model")
    return target


def own_device(devices: Devices) -> str:
    """Return where this process trains, for the models beside the one that is trained."""
    if devices.accelerator == "cpu" or not torch.cuda.is_available():
        return "cpu"
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}"


def reset_weights(module: nn.Module, seed: int, name: str, *, ibp: bool = False) -> None:
    """Draw fresh weights in every layer from the seed; ConfigError for a layer that cannot do so itself.

    `ibp`: those of linear and convolutional layers by `ibp_initialization`.
    """
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
        if ibp:
            ibp_initialization(module)


def factory_of(model: str) -> str:
    """Return what a `trained:` spec needs after its folder where the model is a user's file; else ''."""
    scheme, _, rest = model.partition(":")
    if scheme == TRAINED:
        factory = split_trained_spec(rest)[1]
        return "" if factory is None else f"@{factory}"
    return f"@{model}" if ".py:" in model and not is_own_file(model) else ""
