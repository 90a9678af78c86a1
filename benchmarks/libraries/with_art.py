"""Adversarial Robustness Toolbox (https://github.com/Trusted-AI/adversarial-robustness-toolbox).

It works on numpy arrays; its batch size is set to the number of images, so that it is not held back by small
ones.
"""

import numpy as np
import torch
from art.attacks.evasion import (
    AutoProjectedGradientDescent,
    CarliniL2Method,
    CarliniLInfMethod,
    DeepFool,
    ElasticNet,
    HopSkipJump,
    ProjectedGradientDescent,
    SaliencyMapMethod,
    SquareAttack,
)
from art.estimators.classification import PyTorchClassifier
from torch import Tensor, nn

from benchmarks.counting import SinglePrecision


def _classifier(net: nn.Module, images: Tensor) -> PyTorchClassifier:
    with torch.no_grad():
        classes = net.net(images[:1]).shape[1]  # through the counter's own net: this look is not the attack's
    return PyTorchClassifier(
        SinglePrecision(net),
        loss=nn.CrossEntropyLoss(),
        input_shape=tuple(images.shape[1:]),
        nb_classes=classes,
        clip_values=(0.0, 1.0),
        device_type="gpu" if images.is_cuda else "cpu",
    )


def _generate(attack: object, images: Tensor, labels: Tensor) -> Tensor:
    found = attack.generate(x=images.cpu().numpy(), y=labels.cpu().numpy())
    return torch.from_numpy(found).to(images)


def pgd(
    net: nn.Module, images: Tensor, labels: Tensor, seed: int, *, eps: float, step_size: float, steps: int
) -> Tensor:
    attack = ProjectedGradientDescent(
        _classifier(net, images),
        norm=np.inf,
        eps=eps,
        eps_step=step_size,
        max_iter=steps,
        num_random_init=1,
        batch_size=len(images),
        verbose=False,
    )
    return _generate(attack, images, labels)


def carlini_wagner(
    net: nn.Module, images: Tensor, labels: Tensor, seed: int, *, rounds: int, steps: int, rate: float
) -> Tensor:
    attack = CarliniL2Method(
        _classifier(net, images),
        learning_rate=rate,
        binary_search_steps=rounds,
        max_iter=steps,
        initial_const=1e-3,
        batch_size=len(images),
        verbose=False,
    )
    return _generate(attack, images, labels)


def deepfool(net: nn.Module, images: Tensor, labels: Tensor, seed: int, *, steps: int, overshoot: float) -> Tensor:
    attack = DeepFool(
        _classifier(net, images), max_iter=steps, epsilon=overshoot, batch_size=len(images), verbose=False
    )
    return _generate(attack, images, labels)


def hopskipjump(
    net: nn.Module,
    images: Tensor,
    labels: Tensor,
    seed: int,
    *,
    steps: int,
    first_evaluations: int,
    most_evaluations: int,
) -> Tensor:
    attack = HopSkipJump(
        _classifier(net, images),
        norm=2,
        max_iter=steps,
        init_eval=first_evaluations,
        max_eval=most_evaluations,
        batch_size=most_evaluations,
        verbose=False,
    )
    return _generate(attack, images, labels)


def square(
    net: nn.Module,
    images: Tensor,
    labels: Tensor,
    seed: int,
    *,
    eps: float,
    steps: int,
    first_fraction: float,
) -> Tensor:
    attack = SquareAttack(
        _classifier(net, images),
        norm=np.inf,
        eps=eps,
        max_iter=steps,
        p_init=first_fraction,
        nb_restarts=1,
        batch_size=len(images),
        verbose=False,
    )
    return _generate(attack, images, labels)


def apgd(net: nn.Module, images: Tensor, labels: Tensor, seed: int, *, eps: float, steps: int) -> Tensor:
    attack = AutoProjectedGradientDescent(
        _classifier(net, images),
        norm=np.inf,
        eps=eps,
        eps_step=2 * eps,
        max_iter=steps,
        nb_random_init=1,
        batch_size=len(images),
        loss_type="cross_entropy",
        verbose=False,
    )
    return _generate(attack, images, labels)


def carlini_wagner_linf(net: nn.Module, images: Tensor, labels: Tensor, seed: int, *, steps: int) -> Tensor:
    attack = CarliniLInfMethod(_classifier(net, images), max_iter=steps, batch_size=len(images), verbose=False)
    return _generate(attack, images, labels)


def ead(
    net: nn.Module,
    images: Tensor,
    labels: Tensor,
    seed: int,
    *,
    norm: str,
    rounds: int,
    steps: int,
    rate: float,
    beta: float,
) -> Tensor:
    attack = ElasticNet(
        _classifier(net, images),
        learning_rate=rate,
        binary_search_steps=rounds,
        max_iter=steps,
        beta=beta,
        batch_size=len(images),
        decision_rule="L1" if norm == "L1" else "EN",
        verbose=False,
    )
    return _generate(attack, images, labels)


def jsma(net: nn.Module, images: Tensor, labels: Tensor, seed: int, *, gamma: float) -> Tensor:
    attack = SaliencyMapMethod(_classifier(net, images), theta=1.0, gamma=gamma, batch_size=len(images), verbose=False)
    return _generate(attack, images, (labels + 1) % 10)
