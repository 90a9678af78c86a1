"""sparring, through its public words, with its default engine but for the batch size (all images at once)."""

from torch import Tensor, nn

import sparring as sp

ENGINE_LOOKS = 2  # the engine asks about each image before the attack and after it: these are queries too


def _examples(
    attack: object,
    net: nn.Module,
    images: Tensor,
    labels: Tensor,
    seed: int,
    queries: int | None = None,
    compact: bool = True,
) -> Tensor:
    engine = sp.Engine(batch_size=len(images), seed=seed, compact=compact)
    budget = sp.Budget(forwards=None if queries is None else queries - ENGINE_LOOKS)
    goal = sp.Misclassify(labels)
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


def deepfool(net: nn.Module, images: Tensor, labels: Tensor, seed: int, *, steps: int, overshoot: float) -> Tensor:
    return _examples(sp.attacks.DeepFool(steps=steps, overshoot=overshoot), net, images, labels, seed)


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
