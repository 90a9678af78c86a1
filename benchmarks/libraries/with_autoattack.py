"""AutoAttack by its authors (https://github.com/fra31/auto-attack, packaged as pyautoattack)."""

from math import inf

from pyautoattack import AutoAttack
from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
from pyautoattack.fab_pt import FABAttack_PT
from pyautoattack.square import SquareAttack
from torch import Tensor

from benchmarks.libraries import Attack, Task


def _found(kind: Attack, task: Task, **settings: object) -> Tensor:
    attack = kind(task.net, seed=task.seed, device=task.images.device, **settings)
    return attack.perturb(task.images, task.labels)


def autoattack(task: Task, *, eps: float) -> Tensor:
    settings = {"norm": "Linf", "eps": eps, "version": "standard", "seed": task.seed}
    attack = AutoAttack(task.net, device=task.images.device, **settings)
    return attack.run_standard_evaluation(task.images, task.labels, batch_size=len(task.images))[0]


def apgd(task: Task, *, eps: float, steps: int) -> Tensor:
    return _found(APGDAttack, task, norm="Linf", eps=eps, steps=steps, loss="ce")


def apgd_t(task: Task, *, eps: float, steps: int) -> Tensor:
    return _found(APGDAttack_targeted, task, norm="Linf", eps=eps, steps=steps)


def square(task: Task, *, eps: float, steps: int, first_fraction: float) -> Tensor:
    return _found(SquareAttack, task, norm="Linf", eps=eps, n_queries=steps, p_init=first_fraction)


def fab(task: Task, *, norm: str, steps: int) -> Tensor:
    return _found(FABAttack_PT, task, norm=norm, eps=inf, steps=steps)
