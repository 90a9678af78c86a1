"""Checks before a training begins: that model, images, objective and numbers fit together."""

from __future__ import annotations

import sys
from dataclasses import Field, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import ConfigError, InputError, TargetError, user_code
from ...targets import Classifier, Target
from ...targets.held_module import check_weights
from ..certification.smoothing import SmoothedClassifier, check_certificates
from .adversary import Adversary
from .config import TrainingConfig, Validation
from .dataset import IndexedData, InMemoryData, StreamedData
from .devices import Devices
from .objective import Objective


def check_parts(classifier: Classifier, objective: Objective, adversary: Adversary) -> None:
    """Raise where the parts do not fit together."""
    check_trainable(classifier)
    if not isinstance(objective, Objective):
        raise ConfigError(f"objective={objective!r:.60} is none; pass an object, as Madry() of defenses.training")
    if not isinstance(adversary, Adversary):
        raise ConfigError(f"adversary={adversary!r:.60} is none; pass Adversary((PGD(Linf(8 / 255), steps=7),))")
    least, most = objective.attacks
    if not least <= len(adversary.attacks) <= most:
        wanted = str(least) if least == most else f"{least} or more" if most == sys.maxsize else f"{least} to {most}"
        name = type(objective).__name__
        raise ConfigError(f"{name} works with {wanted} attacks, and the adversary has {len(adversary.attacks)}")
    objective.check(adversary)
    objective.check_network(trainable_module(classifier))


def check_run(
    classifier: Classifier,
    images: IndexedData,
    objective: Objective,
    adversary: Adversary,
    config: TrainingConfig,
    validation: Validation,
    devices: Devices,
) -> None:
    """Raise where model, images and numbers do not fit together; the model sees two images."""
    if validation.val_size >= len(images):
        raise InputError(
            f"validation.val_size={validation.val_size} of {len(images)} images leaves none to train on; hold out fewer"
        )
    processes = devices.count * devices.nodes
    if config.batch_size % processes:
        message = f"batch_size={config.batch_size} does not divide over {processes} processes"
        raise ConfigError(f"{message}; pass a multiple of {processes}")
    if validation.collapse == "rollback" and not objective.runs_attacks and adversary.attacks:
        raise ConfigError(
            "validation.collapse='rollback' puts another attack in the adversary's place, and "
            f"{type(objective).__name__} runs none; choose 'stop' or 'ignore'"
        )
    if validation.smoothing is not None:
        SmoothedClassifier(classifier, validation.smoothing.sigma)
        check_certificates(validation.smoothing.n, validation.smoothing.alpha)
    first, _ = images.at(torch.arange(min(2, len(images))))
    for attack in adversary.attacks:
        attack.ball.check(first)
    classes = classes_of(classifier, images)
    objective.check_images(classifier, first.to(classifier.device))
    if isinstance(images, InMemoryData):
        check_labels(images.labels, classes)
    elif isinstance(images, StreamedData):
        images.classes = classes


def classes_of(classifier: Classifier, images: IndexedData) -> int:
    """Return how many classes the model tells apart; TargetError where it cannot take the images."""
    first, _ = images.at(torch.arange(min(2, len(images))))
    with classifier.frozen(), torch.no_grad():
        outputs = classifier(first.to(classifier.device))
    classifier.check(outputs)
    return outputs.shape[1]


def check_labels(labels: Tensor, classes: int) -> None:
    """Raise InputError where a label is none of the model's."""
    low, high = (int(end) for end in labels.aminmax())
    if low < 0 or high >= classes:
        raise InputError(f"labels go from {low} to {high}, and the model has {classes} classes (0 to {classes - 1})")


def model_signature(classifier: Classifier) -> list[object]:
    """Return what tells this model from others except its weights, which a training changes."""
    state = trainable_module(classifier).state_dict()
    names = [f"{name} {value.dtype} {tuple(value.shape)}" for name, value in sorted(state.items())]
    how = classifier.layout, classifier.binary, classifier.probabilities, classifier._mean, classifier._std
    return [*how, *names]


def targets_in(objective: Objective) -> list[Target[Any]]:
    """Return the models that an objective holds, or one inside it."""
    parts: tuple[Field[Any], ...] = fields(objective) if is_dataclass(objective) else ()
    values: list[Any] = [getattr(objective, part.name) for part in parts]
    inner = [target for value in values if isinstance(value, Objective) for target in targets_in(value)]
    return [value for value in values if isinstance(value, Target)] + inner


def trainable_module(classifier: Classifier) -> nn.Module:
    """Return the module that is trained; TargetError where there is none."""
    model = classifier.model if isinstance(classifier, Classifier) else None
    if not isinstance(model, nn.Module):
        raise TargetError(f"only a Classifier around a torch.nn.Module can be trained, not {classifier!r:.60}")
    return model


def check_trainable(classifier: Classifier) -> None:
    """Raise TargetError for a module without weights to train, made in inference mode, or with one mode only."""
    model = trainable_module(classifier)
    check_weights(model, classifier.name)
    with user_code(f"{classifier.name}.state_dict()"):
        model.state_dict()
    weights = list(model.parameters())
    if any(weight.is_inference() for weight in weights):
        raise TargetError(
            f"{classifier.name} was made in inference mode, and such weights have no gradient; make it outside"
        )
    if not any(weight.requires_grad for weight in weights):
        raise TargetError(f"{classifier.name} has no weight that asks for a gradient; call requires_grad_(True)")
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.train(model.training)
    except NotImplementedError as error:
        raise TargetError(
            f"{classifier.name} is an exported program, which has one mode; train the module that it was made of"
        ) from error
    finally:
        for module, mode in modes:
            module.training = mode
