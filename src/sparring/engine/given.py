"""The goal and the images of `run`, `craft`, `fit` and `judge_artifact`, in the forms that people have them in."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import GoalError, InputError
from ..goals import Goal, Misclassify
from ..targets import Target
from ..zoo.batches import batch_images
from ..zoo.labels import class_labels
from ..zoo.sources import load_data, takes_plain_images, wanted_by


def goal_and_inputs(target: Target[Any], goal: Any, x: Any) -> tuple[Goal, Tensor]:
    """Return the goal and the inputs as a tensor.

    Args:
        goal: a goal; or labels, which stands for `Misclassify(labels)`; or data with labels, where `x` is None.
        x: inputs as the target takes them, or data that `load_data` reads; where `goal` is images, their labels.

    Raises: InputError, which names what cannot be used.
    """
    if isinstance(goal, Goal):
        if x is None:
            raise InputError(
                "no images are given beside the goal; pass them after it, as run(attack, target, goal, images)"
            )
        return goal, inputs_of(target, x)
    if isinstance(goal, type):
        raise GoalError(f"{goal.__name__} is a class; pass an object of it, as Misclassify(labels)")
    if x is None:
        return labelled(target, goal)
    images, labels = (goal, x) if isinstance(goal, Tensor | np.ndarray) and goal.ndim > 2 else (x, goal)
    inputs = inputs_of(target, images)
    if not isinstance(labels, Tensor | np.ndarray | list | tuple):
        raise GoalError(f"a {type(labels).__name__} is no goal; pass one, as Misclassify(labels), or labels")
    return misclassify(target, labels, inputs), inputs


def labelled(target: Target[Any], data: Any) -> tuple[Goal, Tensor]:
    """Return goal and inputs of data that has both."""
    if isinstance(data, tuple) and len(data) == 2 and isinstance(data[1], Goal):
        return data[1], inputs_of(target, data[0])
    if isinstance(data, tuple) and len(data) == 2 and not takes_plain_images(target):
        inputs = inputs_of(target, data[0])
        return misclassify(target, data[1], inputs), inputs
    found = load_data(data, target)
    images, labels = found.tensors()
    if labels is None:
        raise InputError(
            f"{found.name} has no labels, so that nothing says what an attack succeeds by; pass a goal before it, as "
            "Misclassify(target(images).argmax(1))"
        )
    return Misclassify(labels), images


def misclassify(target: Target[Any], labels: Any, inputs: Tensor) -> Goal:
    """Return the goal that another class than the label is predicted."""
    wanted = wanted_by(target)
    found = class_labels("labels", labels, len(inputs), wanted.classes, wanted.class_names)
    if found is None:
        raise InputError("every label is None; pass the classes of the images, or a goal")
    return Misclassify(torch.from_numpy(found).to(inputs.device))


def inputs_of(target: Target[Any], given: Any) -> Tensor:
    """Return a tensor of floats as it is, an array as a tensor, bytes over 255, and of other data its images."""
    if isinstance(given, Tensor):
        whole = not (given.is_floating_point() or given.is_complex()) and takes_plain_images(target)
        return batch_images(given, "x", wanted_by(target)) if whole else given
    if isinstance(given, np.ndarray):
        plain = torch.from_numpy(np.ascontiguousarray(given)) if given.dtype.kind in "biuf" else None
        if plain is None:
            raise InputError(f"the images are an array of {given.dtype}; pass floats in [0, 1]")
        return batch_images(plain, "x", wanted_by(target)) if takes_plain_images(target) else plain
    images, _ = load_data(given, target).tensors()
    return images
