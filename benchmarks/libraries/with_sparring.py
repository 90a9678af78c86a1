"""sparring, through its public words, with its default engine but for the batch size (all images at once)."""

from torch import Tensor, nn

import sparring as sp
from sparring.geometry import Ball
from sparring.goals import Goal, Lead

ENGINE_LOOKS = 2  # the engine asks about each image before the attack and after it: these are queries too
RIVALS = 9  # as in AutoAttack


def _ball(norm: str) -> Ball:
    return {"L0": sp.L0, "L1": sp.L1, "L2": sp.L2, "Linf": sp.Linf}[norm]()


def _examples(
    attack: object,
    net: nn.Module,
    images: Tensor,
    labels: Tensor,
    seed: int,
    queries: int | None = None,
    compact: bool = True,
    goal: Goal | None = None,
) -> Tensor:
    engine = sp.Engine(batch_size=len(images), seed=seed, compact=compact)
    budget = sp.Budget(forwards=None if queries is None else queries - ENGINE_LOOKS)
    goal = goal or sp.Misclassify(labels)
    return sp.run(attack, sp.Classifier(net), goal, images, budget=budget, engine=engine).examples


def pgd(
    net: nn.Module, images: Tensor, labels: Tensor, seed: int, *, eps: float, step_size: float, steps: int
) -> Tensor:
    attack = sp.attacks.PGD(sp.Linf(eps), steps=steps, step_size=step_size)
    return _examples(attack, net, images, labels, seed)


def pgd_to_the_end(
    net: nn.Module, images: Tensor, labels: Tensor, seed: int, *, eps: float, step_size: float, steps: int
) -> Tensor:
    """Every row makes every step, as in the peers: what the loop itself costs."""
    attack = sp.attacks.PGD(sp.Linf(eps), steps=steps, step_size=step_size)
    return _examples(attack, net, images, labels, seed, compact=False)


def carlini_wagner(
    net: nn.Module, images: Tensor, labels: Tensor, seed: int, *, rounds: int, steps: int, rate: float
) -> Tensor:
    attack = sp.attacks.CarliniWagner(rounds=rounds, inner=steps, rate=rate)
    return _examples(attack, net, images, labels, seed)


def deepfool(
    net: nn.Module, images: Tensor, labels: Tensor, seed: int, *, norm: str = "L2", steps: int, overshoot: float
) -> Tensor:
    attack = sp.attacks.DeepFool(steps=steps, overshoot=overshoot, ball=_ball(norm))
    return _examples(attack, net, images, labels, seed)


def hopskipjump(
    net: nn.Module,
    images: Tensor,
    labels: Tensor,
    seed: int,
    *,
    steps: int,
    first_evaluations: int,
    most_evaluations: int,
    queries: int | None = None,
) -> Tensor:
    attack = sp.attacks.HopSkipJump(sp.L2(), steps=steps, directions=first_evaluations, most=most_evaluations)
    return _examples(attack, net, images, labels, seed, queries)


def square(
    net: nn.Module,
    images: Tensor,
    labels: Tensor,
    seed: int,
    *,
    eps: float,
    steps: int,
    first_fraction: float,
    queries: int | None = None,
) -> Tensor:
    attack = sp.attacks.Square(sp.Linf(eps), steps=queries or steps, share=first_fraction)
    return _examples(attack, net, images, labels, seed, queries)


def apgd(net: nn.Module, images: Tensor, labels: Tensor, seed: int, *, eps: float, steps: int) -> Tensor:
    return _examples(sp.attacks.APGD(sp.Linf(eps), steps=steps), net, images, labels, seed)


def apgd_t(net: nn.Module, images: Tensor, labels: Tensor, seed: int, *, eps: float, steps: int) -> Tensor:
    attack = sp.attacks.Rivals(sp.attacks.APGD(sp.Linf(eps), steps=steps, loss=None), RIVALS)
    return _examples(attack, net, images, labels, seed)


def autoattack(net: nn.Module, images: Tensor, labels: Tensor, seed: int, *, eps: float) -> Tensor:
    return _examples(sp.attacks.autoattack(sp.Linf(eps)), net, images, labels, seed)


def auto(net: nn.Module, images: Tensor, labels: Tensor, seed: int, *, eps: float) -> Tensor:
    return _examples(sp.attacks.auto(sp.Linf(eps)), net, images, labels, seed)


def ddn(net: nn.Module, images: Tensor, labels: Tensor, seed: int, *, steps: int) -> Tensor:
    return _examples(sp.attacks.DDN(steps=steps), net, images, labels, seed)


def fmn(net: nn.Module, images: Tensor, labels: Tensor, seed: int, *, norm: str, steps: int) -> Tensor:
    return _examples(sp.attacks.FMN(_ball(norm), steps=steps), net, images, labels, seed)


def alma(net: nn.Module, images: Tensor, labels: Tensor, seed: int, *, norm: str, steps: int) -> Tensor:
    return _examples(sp.attacks.ALMA(_ball(norm), steps=steps), net, images, labels, seed)


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
    rule = sp.attacks.Rule.L1 if norm == "L1" else sp.attacks.Rule.EN
    attack = sp.attacks.EAD(beta=beta, rule=rule, rounds=rounds, inner=steps, rate=rate, ball=_ball(norm))
    return _examples(attack, net, images, labels, seed)


def fab(net: nn.Module, images: Tensor, labels: Tensor, seed: int, *, norm: str, steps: int) -> Tensor:
    return _examples(sp.attacks.FAB(_ball(norm), steps=steps), net, images, labels, seed)


def fab_t(net: nn.Module, images: Tensor, labels: Tensor, seed: int, *, norm: str, steps: int) -> Tensor:
    attack = sp.attacks.Rivals(sp.attacks.FABT(_ball(norm), steps=steps, steered=True), RIVALS, Lead)
    return _examples(attack, net, images, labels, seed)


def superdeepfool(net: nn.Module, images: Tensor, labels: Tensor, seed: int, *, steps: int) -> Tensor:
    return _examples(sp.attacks.SuperDeepFool(steps=steps), net, images, labels, seed)


def carlini_wagner_linf(net: nn.Module, images: Tensor, labels: Tensor, seed: int, *, steps: int) -> Tensor:
    return _examples(sp.attacks.CarliniWagnerLinf(steps=steps), net, images, labels, seed)


def pdpgd(net: nn.Module, images: Tensor, labels: Tensor, seed: int, *, norm: str, steps: int) -> Tensor:
    return _examples(sp.attacks.PDPGD(_ball(norm), steps=steps), net, images, labels, seed)


def jsma(
    net: nn.Module, images: Tensor, labels: Tensor, seed: int, *, gamma: float, untargeted: bool = False
) -> Tensor:
    goal = None if untargeted else sp.ClassifyAs((labels + 1) % 10)
    return _examples(sp.attacks.JSMA(gamma=gamma), net, images, labels, seed, goal=goal)


def sigma_zero(net: nn.Module, images: Tensor, labels: Tensor, seed: int, *, steps: int) -> Tensor:
    return _examples(sp.attacks.SigmaZero(steps=steps), net, images, labels, seed)
