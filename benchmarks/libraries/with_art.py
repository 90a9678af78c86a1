"""Adversarial Robustness Toolbox (https://github.com/Trusted-AI/adversarial-robustness-toolbox).

It works on numpy arrays; its batch size is set to the number of images, so that it is not held back by small
ones.
"""

from contextlib import chdir
from tempfile import TemporaryDirectory
from unittest.mock import patch

import numpy as np
import torch
from art.attacks.evasion import (
    AutoProjectedGradientDescent,
    BoundaryAttack,
    CarliniL2Method,
    CarliniLInfMethod,
    DeepFool,
    ElasticNet,
    GeoDA,
    HopSkipJump,
    ProjectedGradientDescent,
    SaliencyMapMethod,
    SimBA,
    SquareAttack,
    ZooAttack,
)
from art.estimators.classification import PyTorchClassifier
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.counting import Probabilities, SinglePrecision
from benchmarks.libraries import EAD_RULES, Attack, Task


def _classifier(task: Task, probabilities: bool = False) -> PyTorchClassifier:
    with torch.no_grad():
        classes = task.net.net(task.images[:1]).shape[1]  # through the counter's own net: this look is not the attack's
    net = SinglePrecision(task.net)
    return PyTorchClassifier(
        Probabilities(net) if probabilities else net,
        loss=nn.CrossEntropyLoss(),
        input_shape=tuple(task.images.shape[1:]),
        nb_classes=classes,
        clip_values=(0.0, 1.0),
        device_type="gpu" if task.images.is_cuda else "cpu",
    )


def _found(kind: Attack, task: Task, classes: Tensor | None = None, **settings: object) -> Tensor:
    """What an attack of this kind finds; `classes` are its targets, or else the labels."""
    attack = kind(_classifier(task), **{"batch_size": len(task.images), "verbose": False, **settings})
    given = task.labels if classes is None else classes
    return torch.from_numpy(attack.generate(x=task.images.cpu().numpy(), y=given.cpu().numpy())).to(task.images)


def pgd(task: Task, *, eps: float, step_size: float, steps: int, random_start: bool = True) -> Tensor:
    settings = {"norm": np.inf, "eps": eps, "eps_step": step_size, "max_iter": steps}
    return _found(ProjectedGradientDescent, task, num_random_init=int(random_start), **settings)


def carlini_wagner(task: Task, *, rounds: int, steps: int, rate: float) -> Tensor:
    settings = {"learning_rate": rate, "binary_search_steps": rounds, "max_iter": steps, "initial_const": 1e-3}
    return _found(CarliniL2Method, task, **settings)


def deepfool(task: Task, *, steps: int, overshoot: float) -> Tensor:
    return _found(DeepFool, task, max_iter=steps, epsilon=overshoot)


def hopskipjump(task: Task, *, steps: int, first_evaluations: int, most_evaluations: int) -> Tensor:
    settings = {"init_eval": first_evaluations, "max_eval": most_evaluations, "batch_size": most_evaluations}
    return _found(HopSkipJump, task, norm=2, max_iter=steps, **settings)


def boundary(task: Task, *, iterations: int) -> Tensor:
    return _found(BoundaryAttack, task, targeted=False, max_iter=iterations)


def geoda(task: Task, *, queries: int) -> Tensor:
    """It is written for numpy 1, and leaves a file in the folder where it runs."""
    with TemporaryDirectory() as folder, chdir(folder), patch.object(np, "mat", np.asmatrix, create=True):
        return _found(GeoDA, task, max_iter=queries)


def simba(task: Task, *, queries: int, step_size: float, pixels: bool) -> Tensor:
    """It asks for both sides of each direction, and once about the image."""
    steps, basis = (queries - 1) // 2, "px" if pixels else "dct"
    settings = {"attack": basis, "epsilon": step_size, "max_iter": steps, "batch_size": 1, "verbose": False}
    attack = SimBA(_classifier(task, probabilities=True), **settings)
    labels = functional.one_hot(task.labels, attack.estimator.nb_classes)
    return torch.from_numpy(attack.generate(x=task.images.cpu().numpy(), y=labels.cpu().numpy())).to(task.images)


def zoo(task: Task, *, iterations: int, constant: float, rate: float) -> Tensor:
    """At the size of the image itself, as in the paper for MNIST; it takes one image at a time."""
    settings = {"max_iter": iterations, "initial_const": constant, "learning_rate": rate}
    return _found(ZooAttack, task, use_resize=False, abort_early=False, batch_size=1, **settings)


def square(task: Task, *, eps: float, steps: int, first_fraction: float) -> Tensor:
    settings = {"norm": np.inf, "eps": eps, "max_iter": steps, "p_init": first_fraction, "nb_restarts": 1}
    return _found(SquareAttack, task, **settings)


def apgd(task: Task, *, eps: float, steps: int) -> Tensor:
    settings = {"norm": np.inf, "eps": eps, "eps_step": 2 * eps, "max_iter": steps, "nb_random_init": 1}
    return _found(AutoProjectedGradientDescent, task, loss_type="cross_entropy", **settings)


def carlini_wagner_linf(task: Task, *, steps: int) -> Tensor:
    return _found(CarliniLInfMethod, task, max_iter=steps)


def ead(task: Task, *, norm: str, rounds: int, steps: int, rate: float, beta: float) -> Tensor:
    settings = {"learning_rate": rate, "binary_search_steps": rounds, "max_iter": steps, "beta": beta}
    return _found(ElasticNet, task, decision_rule=EAD_RULES[norm], **settings)


def jsma(task: Task, *, gamma: float) -> Tensor:
    return _found(SaliencyMapMethod, task, task.next_classes, theta=1.0, gamma=gamma)
