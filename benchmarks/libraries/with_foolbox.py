"""Foolbox (https://github.com/bethgelab/foolbox), through its public call."""

import foolbox
from torch import Tensor

from benchmarks.libraries import EAD_RULES, Task


def _found(attack: foolbox.attacks.base.Attack, task: Task, eps: float | None = None) -> Tensor:
    """What the attack finds within eps; None: its smallest examples."""
    model = foolbox.PyTorchModel(task.net, bounds=(0, 1), device=task.images.device)
    inside: Tensor
    _, inside, _ = attack(model, task.images, task.labels, epsilons=eps)
    return inside


def pgd(task: Task, *, eps: float, step_size: float, steps: int, random_start: bool = True) -> Tensor:
    return _found(foolbox.attacks.LinfPGD(abs_stepsize=step_size, steps=steps, random_start=random_start), task, eps)


def carlini_wagner(task: Task, *, rounds: int, steps: int, rate: float) -> Tensor:
    return _found(foolbox.attacks.L2CarliniWagnerAttack(binary_search_steps=rounds, steps=steps, stepsize=rate), task)


def deepfool(task: Task, *, norm: str = "L2", steps: int, overshoot: float) -> Tensor:
    kinds = {"L2": foolbox.attacks.L2DeepFoolAttack, "Linf": foolbox.attacks.LinfDeepFoolAttack}
    return _found(kinds[norm](steps=steps, overshoot=overshoot), task)


def hopskipjump(task: Task, *, steps: int, first_evaluations: int, most_evaluations: int) -> Tensor:
    settings = {"initial_gradient_eval_steps": first_evaluations, "max_gradient_eval_steps": most_evaluations}
    return _found(foolbox.attacks.HopSkipJumpAttack(steps=steps, constraint="l2", **settings), task)


def boundary(task: Task, *, steps: int) -> Tensor:
    return _found(foolbox.attacks.BoundaryAttack(steps=steps), task)


def ddn(task: Task, *, steps: int) -> Tensor:
    return _found(foolbox.attacks.DDNAttack(steps=steps), task)


def fmn(task: Task, *, norm: str, steps: int) -> Tensor:
    kinds = {
        "L0": foolbox.attacks.L0FMNAttack,
        "L1": foolbox.attacks.L1FMNAttack,
        "L2": foolbox.attacks.L2FMNAttack,
        "Linf": foolbox.attacks.LInfFMNAttack,
    }
    return _found(kinds[norm](steps=steps), task)


def ead(task: Task, *, norm: str, rounds: int, steps: int, rate: float, beta: float) -> Tensor:
    settings = {"binary_search_steps": rounds, "steps": steps, "initial_stepsize": rate, "regularization": beta}
    return _found(foolbox.attacks.EADAttack(decision_rule=EAD_RULES[norm], **settings), task)
