"""torchattacks (https://github.com/Harry24k/adversarial-attacks-pytorch)."""

from math import inf

from torch import Tensor

from benchmarks import standins
from benchmarks.libraries import EAD_RULES, Attack, Task

standins.install()

import torchattacks  # noqa: E402


def _found(kind: Attack, task: Task, **settings: object) -> Tensor:
    return kind(task.net, **settings)(task.images, task.labels)


def pgd(task: Task, *, eps: float, step_size: float, steps: int, random_start: bool = True) -> Tensor:
    return _found(torchattacks.PGD, task, eps=eps, alpha=step_size, steps=steps, random_start=random_start)


def carlini_wagner(task: Task, *, rounds: int, steps: int, rate: float) -> Tensor:
    """It has no search over the constant: all steps are spent at its default constant of 1."""
    return _found(torchattacks.CW, task, c=1, kappa=0, steps=rounds * steps, lr=rate)


def square(task: Task, *, eps: float, steps: int, first_fraction: float) -> Tensor:
    settings = {"n_queries": steps, "n_restarts": 1, "p_init": first_fraction, "seed": task.seed}
    return _found(torchattacks.Square, task, norm="Linf", eps=eps, **settings)


def spsa(task: Task, *, eps: float, steps: int, pairs: int, step_size: float) -> Tensor:
    return _found(torchattacks.SPSA, task, eps=eps, lr=step_size, nb_iter=steps, nb_sample=pairs)


def apgd(task: Task, *, eps: float, steps: int) -> Tensor:
    return _found(torchattacks.APGD, task, eps=eps, steps=steps, seed=task.seed, loss="ce")


def apgd_t(task: Task, *, eps: float, steps: int) -> Tensor:
    return _found(torchattacks.APGDT, task, eps=eps, steps=steps, seed=task.seed, n_classes=10)


def autoattack(task: Task, *, eps: float) -> Tensor:
    """Its cascade gives APGD, APGD-T and FAB-T ten steps each, whatever the paper says."""
    return _found(torchattacks.AutoAttack, task, eps=eps, n_classes=10, seed=task.seed)


def fab(task: Task, *, norm: str, steps: int) -> Tensor:
    return _found(torchattacks.FAB, task, norm=norm, eps=inf, steps=steps, seed=task.seed)


def ead(task: Task, *, norm: str, rounds: int, steps: int, rate: float, beta: float) -> Tensor:
    kind = getattr(torchattacks, f"EAD{EAD_RULES[norm]}")
    return _found(kind, task, lr=rate, binary_search_steps=rounds, max_iterations=steps, beta=beta)


def jsma(task: Task, *, gamma: float) -> Tensor:
    """Its target is the class after the label, which is therefore everybody's."""
    return _found(torchattacks.JSMA, task, theta=1.0, gamma=gamma)
