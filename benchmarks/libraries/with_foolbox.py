"""Foolbox (https://github.com/bethgelab/foolbox), through its public call."""

import foolbox
from torch import Tensor, nn


def _model(net: nn.Module, images: Tensor) -> foolbox.PyTorchModel:
    return foolbox.PyTorchModel(net, bounds=(0, 1), device=images.device)


def _smallest(attack: foolbox.attacks.base.Attack, net: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    found: Tensor
    found, _, _ = attack(_model(net, images), images, labels, epsilons=None)
    return found


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
    return _smallest(attack, net, images, labels)


def deepfool(
    net: nn.Module, images: Tensor, labels: Tensor, seed: int, *, norm: str = "L2", steps: int, overshoot: float
) -> Tensor:
    kinds = {"L2": foolbox.attacks.L2DeepFoolAttack, "Linf": foolbox.attacks.LinfDeepFoolAttack}
    return _smallest(kinds[norm](steps=steps, overshoot=overshoot), net, images, labels)


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
    return _smallest(attack, net, images, labels)


def ddn(net: nn.Module, images: Tensor, labels: Tensor, seed: int, *, steps: int) -> Tensor:
    return _smallest(foolbox.attacks.DDNAttack(steps=steps), net, images, labels)


def fmn(net: nn.Module, images: Tensor, labels: Tensor, seed: int, *, norm: str, steps: int) -> Tensor:
    kinds = {
        "L0": foolbox.attacks.L0FMNAttack,
        "L1": foolbox.attacks.L1FMNAttack,
        "L2": foolbox.attacks.L2FMNAttack,
        "Linf": foolbox.attacks.LInfFMNAttack,
    }
    return _smallest(kinds[norm](steps=steps), net, images, labels)


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
    attack = foolbox.attacks.EADAttack(
        binary_search_steps=rounds,
        steps=steps,
        initial_stepsize=rate,
        regularization=beta,
        decision_rule="L1" if norm == "L1" else "EN",
    )
    return _smallest(attack, net, images, labels)
