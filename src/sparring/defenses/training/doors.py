"""What is looked at before a training begins: do model, images, objective and numbers fit together?"""

from __future__ import annotations

import sys
from dataclasses import Field, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import ConfigError, InputError, TargetError
from ...targets import Classifier, Target
from .adversary import Adversary
from .devices import Devices
from .objective import Objective
from .recipe import Recipe, Watch
from .source import Held, Source


def check(classifier: Classifier, objective: Objective, adversary: Adversary) -> None:
    """Raise where the parts do not fit together."""
    if not any(weight.requires_grad for weight in module_of(classifier).parameters()):
        raise TargetError(f"{classifier.name} has no weight that asks for a gradient; call requires_grad_(True)")
    least, most = objective.attacks
    if not least <= len(adversary.attacks) <= most:
        wanted = str(least) if least == most else f"{least} or more" if most == sys.maxsize else f"{least} to {most}"
        name = type(objective).__name__
        raise ConfigError(f"{name} works with {wanted} attacks, and the adversary has {len(adversary.attacks)}")
    objective.check(adversary)


def check_run(
    classifier: Classifier,
    images: Source,
    objective: Objective,
    adversary: Adversary,
    recipe: Recipe,
    watch: Watch,
    devices: Devices,
) -> None:
    """Raise where model, images and numbers do not fit together; the model sees two images."""
    if watch.held_out >= len(images):
        raise InputError(
            f"watch.held_out={watch.held_out} of {len(images)} images leaves none to train on; hold out fewer"
        )
    processes = devices.count * devices.nodes
    if recipe.batch_size % processes:
        told = f"batch_size={recipe.batch_size} does not divide over {processes} processes"
        raise ConfigError(f"{told}; pass a multiple of {processes}")
    if watch.collapse == "rollback" and not objective.crafts and adversary.attacks:
        raise ConfigError(
            f"watch.collapse='rollback' puts another attack in the adversary's place, and {type(objective).__name__} "
            "runs none; choose 'stop' or 'ignore'"
        )
    first, _ = images.at(torch.arange(min(2, len(images))))
    for attack in adversary.attacks:
        attack.ball.check(first)
    classes = classes_of(classifier, images)
    if isinstance(images, Held):
        check_labels(images.labels, classes)


def classes_of(classifier: Classifier, images: Source) -> int:
    """How many classes the model tells apart; TargetError where it cannot take the images."""
    first, _ = images.at(torch.arange(min(2, len(images))))
    with classifier.frozen(), torch.no_grad():
        outputs = classifier(first.to(classifier.device))
    classifier.check(outputs)
    return outputs.shape[1]


def check_labels(labels: Tensor, classes: int) -> None:
    """InputError where a label is none of the model's."""
    low, high = (int(end) for end in labels.aminmax())
    if low < 0 or high >= classes:
        raise InputError(f"labels go from {low} to {high}, and the model has {classes} classes (0 to {classes - 1})")


def shape_of(classifier: Classifier) -> list[object]:
    """What tells this model from others but for its weights, which a training changes."""
    state = module_of(classifier).state_dict()
    names = [f"{name} {value.dtype} {tuple(value.shape)}" for name, value in sorted(state.items())]
    how = classifier.layout, classifier.binary, classifier.probabilities, classifier._mean, classifier._std
    return [*how, *names]


def targets_in(objective: Objective) -> list[Target[Any]]:
    """The models that an objective holds, or one inside it."""
    parts: tuple[Field[Any], ...] = fields(objective) if is_dataclass(objective) else ()
    values: list[Any] = [getattr(objective, part.name) for part in parts]
    inner = [target for value in values if isinstance(value, Objective) for target in targets_in(value)]
    return [value for value in values if isinstance(value, Target)] + inner


def module_of(classifier: Classifier) -> nn.Module:
    """The module that is trained; TargetError where there is none."""
    model = classifier.model if isinstance(classifier, Classifier) else None
    if not isinstance(model, nn.Module):
        raise TargetError(f"only a Classifier around a torch.nn.Module can be trained, not {classifier!r:.60}")
    return model
