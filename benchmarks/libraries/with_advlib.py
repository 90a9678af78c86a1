"""adv-lib (https://github.com/jeromerony/adversarial-library)."""

from math import inf

from torch import Tensor

from benchmarks import standins
from benchmarks.judging import ORDERS
from benchmarks.libraries import Attack, Task

standins.install()

from adv_lib import attacks  # noqa: E402

FIRST_STEP = {"L1": 0.5, "L2": 0.1}  # ALMA's
PROXIMAL = {"L0": 23}  # PDPGD's: the L2/3 norm's, which adv-lib prefers in L0


def _found(attack: Attack, task: Task, *given: float, **settings: object) -> Tensor:
    return attack(task.net, task.images, task.labels, *given, **settings)


def pgd(task: Task, *, eps: float, step_size: float, steps: int, random_start: bool = True) -> Tensor:
    return _found(attacks.pgd_linf, task, eps, steps=steps, random_init=random_start, absolute_step_size=step_size)


def carlini_wagner(task: Task, *, rounds: int, steps: int, rate: float) -> Tensor:
    settings = {"learning_rate": rate, "binary_search_steps": rounds, "max_iterations": steps}
    return _found(attacks.carlini_wagner_l2, task, **settings)


def deepfool(task: Task, *, norm: str = "L2", steps: int, overshoot: float) -> Tensor:
    return _found(attacks.df, task, steps=steps, overshoot=overshoot, norm=ORDERS[norm])


def apgd(task: Task, *, eps: float, steps: int) -> Tensor:
    return _found(attacks.apgd, task, eps, inf, steps=steps, loss_function="ce")


def apgd_t(task: Task, *, eps: float, steps: int) -> Tensor:
    return _found(attacks.apgd_targeted, task, eps, inf, steps=steps, num_targets=9)


def ddn(task: Task, *, steps: int) -> Tensor:
    return _found(attacks.ddn, task, steps=steps, levels=None)


def fmn(task: Task, *, norm: str, steps: int) -> Tensor:
    return _found(attacks.fmn, task, ORDERS[norm], steps=steps)


def alma(task: Task, *, norm: str, steps: int) -> Tensor:
    """With the first step and the weight of its averages as in the paper's MNIST settings."""
    settings = {"init_lr_distance": FIRST_STEP[norm], "α": 0.5 if steps <= 100 else 0.9}
    return _found(attacks.alma, task, num_steps=steps, distance=norm.lower(), **settings)


def fab(task: Task, *, norm: str, steps: int) -> Tensor:
    return _found(attacks.fab, task, ORDERS[norm], steps=steps)


def fab_t(task: Task, *, norm: str, steps: int) -> Tensor:
    return _found(attacks.fab, task, ORDERS[norm], steps=steps, targeted_restarts=True)


def superdeepfool(task: Task, *, steps: int) -> Tensor:
    return _found(attacks.sdf, task, steps=steps)


def carlini_wagner_linf(task: Task, *, steps: int) -> Tensor:
    return _found(attacks.carlini_wagner_linf, task, max_iterations=steps)


def pdpgd(task: Task, *, norm: str, steps: int) -> Tensor:
    return _found(attacks.pdpgd, task, ORDERS[norm], num_steps=steps, proximal_operator=PROXIMAL.get(norm))


def sigma_zero(task: Task, *, steps: int) -> Tensor:
    return _found(attacks.sigma_zero, task, num_steps=steps)
