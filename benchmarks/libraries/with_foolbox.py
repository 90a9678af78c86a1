"""Foolbox (https://github.com/bethgelab/foolbox), through its public call."""

import foolbox
from torch import Tensor, nn


def _model(net: nn.Module, images: Tensor) -> foolbox.PyTorchModel:
    return foolbox.PyTorchModel(net, bounds=(0, 1), device=images.device)


def pgd(
    net: nn.Module, images: Tensor, labels: Tensor, seed: int, *, eps: float, step_size: float, steps: int
) -> Tensor:
    attack = foolbox.attacks.LinfPGD(abs_stepsize=step_size, steps=steps, random_start=True)
    _, inside, _ = attack(_model(net, images), images, labels, epsilons=eps)
    return inside


def carlini_wagner(
    net: nn.Module, images: Tensor, labels: Tensor, seed: int, *, rounds: int, steps: int, rate: float
) -> Tensor:
    attack = foolbox.attacks.L2CarliniWagnerAttack(binary_search_steps=rounds, steps=steps, stepsize=rate)
    found, _, _ = attack(_model(net, images), images, labels, epsilons=None)
    return found


def deepfool(net: nn.Module, images: Tensor, labels: Tensor, seed: int, *, steps: int, overshoot: float) -> Tensor:
    attack = foolbox.attacks.L2DeepFoolAttack(steps=steps, overshoot=overshoot)
    found, _, _ = attack(_model(net, images), images, labels, epsilons=None)
    return found


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
    attack = foolbox.attacks.HopSkipJumpAttack(
        steps=steps,
        initial_gradient_eval_steps=first_evaluations,
        max_gradient_eval_steps=most_evaluations,
        constraint="l2",
    )
    found, _, _ = attack(_model(net, images), images, labels, epsilons=None)
    return found
