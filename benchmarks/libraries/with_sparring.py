"""sparring, through its public words, with its default engine but for the batch size (all images at once)."""

from typing import Any

from torch import Tensor

import sparring as sp
from benchmarks.libraries import EAD_RULES, Task
from sparring.geometry import Ball
from sparring.goals import Goal, RivalMargin

ENGINE_LOOKS = 2  # the engine asks about each image before the attack and after it: these are queries too
RIVALS = 9  # as in AutoAttack


def _ball(norm: str) -> Ball:
    return {"L0": sp.L0, "L1": sp.L1, "L2": sp.L2, "Linf": sp.Linf}[norm]()


def _found(
    attack: object, task: Task, queries: int | None = None, compact: bool = True, goal: Goal | None = None
) -> Tensor:
    engine = sp.Engine(batch_size=len(task.images), seed=task.seed, compact=compact)
    budget = sp.Budget(forwards=None if queries is None else queries - ENGINE_LOOKS)
    goal = goal or sp.Misclassify(task.labels)
    return sp.run(attack, sp.Classifier(task.net), goal, task.images, budget=budget, engine=engine).examples


def pgd(
    task: Task, *, eps: float, step_size: float, steps: int, random_start: bool = True, compact: bool = True
) -> Tensor:
    """Without `compact` every row makes every step, as in the peers: what the loop itself costs."""
    attack = sp.attacks.PGD(sp.Linf(eps), steps=steps, step_size=step_size, random_start=random_start)
    return _found(attack, task, compact=compact)


def carlini_wagner(task: Task, *, rounds: int, steps: int, rate: float) -> Tensor:
    return _found(sp.attacks.CarliniWagner(binary_search_steps=rounds, steps=steps, learning_rate=rate), task)


def deepfool(task: Task, *, norm: str = "L2", steps: int, overshoot: float) -> Tensor:
    return _found(sp.attacks.DeepFool(steps=steps, overshoot=overshoot, ball=_ball(norm)), task)


def hopskipjump(
    task: Task, *, steps: int, first_evaluations: int, most_evaluations: int, queries: int | None = None
) -> Tensor:
    attack = sp.attacks.HopSkipJump(
        sp.L2(), steps=steps, init_num_evals=first_evaluations, max_num_evals=most_evaluations
    )
    return _found(attack, task, queries)


def square(task: Task, *, eps: float, steps: int, first_fraction: float, queries: int | None = None) -> Tensor:
    return _found(sp.attacks.Square(sp.Linf(eps), n_queries=queries or steps, p_init=first_fraction), task, queries)


def boundary(task: Task, *, queries: int) -> Tensor:
    return _found(sp.attacks.Boundary(steps=queries), task, queries)


def surfree(task: Task, *, queries: int) -> Tensor:
    return _found(sp.attacks.SurFree(steps=queries), task, queries)


def simba(task: Task, *, queries: int, step_size: float, pixels: bool) -> Tensor:
    return _found(sp.attacks.SimBA(steps=queries, step_size=step_size, pixels=pixels), task, queries)


def zoo(task: Task, *, queries: int) -> Tensor:
    return _found(sp.attacks.ZOO(), task, queries)


def spsa(task: Task, *, eps: float, queries: int) -> Tensor:
    return _found(sp.attacks.SPSA(sp.Linf(eps)), task, queries)


def nes(task: Task, *, eps: float, queries: int) -> Tensor:
    return _found(sp.attacks.NES(sp.Linf(eps)), task, queries)


def bandits(task: Task, *, eps: float, queries: int) -> Tensor:
    return _found(sp.attacks.Bandits(sp.Linf(eps)), task, queries)


def apgd(task: Task, *, eps: float, steps: int) -> Tensor:
    return _found(sp.attacks.APGD(sp.Linf(eps), steps=steps), task)


def apgd_t(task: Task, *, eps: float, steps: int) -> Tensor:
    return _found(sp.attacks.Rivals(sp.attacks.APGD(sp.Linf(eps), steps=steps), RIVALS), task)


def auto(task: Task, *, eps: float) -> Tensor:
    return _found(sp.attacks.Auto(sp.Linf(eps)), task)


def ddn(task: Task, *, steps: int) -> Tensor:
    return _found(sp.attacks.DDN(steps=steps), task)


def fmn(task: Task, *, norm: str, steps: int) -> Tensor:
    return _found(sp.attacks.FMN(_ball(norm), steps=steps), task)


def alma(task: Task, *, norm: str, steps: int) -> Tensor:
    return _found(sp.attacks.ALMA(_ball(norm), steps=steps), task)


def ead(task: Task, *, norm: str, rounds: int, steps: int, rate: float, beta: float, whole: bool = False) -> Tensor:
    rule = sp.attacks.DecisionRule(EAD_RULES[norm])
    how: dict[str, Any] = {"tolerance": 0.0, "abort_early": 0.9999, "warm_start": False} if whole else {}
    attack = sp.attacks.EAD(
        beta=beta,
        decision_rule=rule,
        binary_search_steps=rounds,
        steps=steps,
        learning_rate=rate,
        ball=_ball(norm),
        **how,
    )
    return _found(attack, task)


def fab(task: Task, *, norm: str, steps: int) -> Tensor:
    return _found(sp.attacks.FAB(_ball(norm), steps=steps), task)


def fab_t(task: Task, *, norm: str, steps: int) -> Tensor:
    attack = sp.attacks.Rivals(sp.attacks.FABT(_ball(norm), steps=steps, linearize_loss=True), RIVALS, RivalMargin)
    return _found(attack, task)


def superdeepfool(task: Task, *, steps: int) -> Tensor:
    return _found(sp.attacks.SuperDeepFool(steps=steps), task)


def carlini_wagner_linf(task: Task, *, steps: int) -> Tensor:
    return _found(sp.attacks.CarliniWagnerLinf(steps=steps), task)


def pdpgd(task: Task, *, norm: str, steps: int) -> Tensor:
    return _found(sp.attacks.PDPGD(_ball(norm), steps=steps), task)


def jsma(task: Task, *, gamma: float, untargeted: bool = False) -> Tensor:
    goal = None if untargeted else sp.ClassifyAs(task.next_classes)
    return _found(sp.attacks.JSMA(gamma=gamma), task, goal=goal)


def sigma_zero(task: Task, *, steps: int) -> Tensor:
    return _found(sp.attacks.SigmaZero(steps=steps), task)
