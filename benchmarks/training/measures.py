"""What is measured of a net: shares of MNIST's test digits, with their counts."""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.training.nets import digits
from sparring import Classifier, Engine, Linf, Misclassify, Outcome, run
from sparring.access import Attack
from sparring.attacks import PGD, Auto
from sparring.geometry import Ball
from sparring.intervals import wilson


def share(count: int, total: int) -> dict[str, Any]:
    """A share with its Wilson interval of 95 %."""
    low, high = wilson(count, total)
    return {"share": count / total, "low": low, "high": high, "count": count, "of": total}


def clean(target: Classifier, count: int = 10_000) -> dict[str, Any]:
    """Accuracy without an attack."""
    images, labels = digits("mnist")
    with target.frozen(), torch.no_grad():
        right = sum(
            int((target(x).argmax(1) == y).sum())
            for x, y in zip(images[:count].split(1000), labels[:count].split(1000), strict=True)
        )
    return share(right, count)


def attacked(target: Classifier, attack: Attack[Any, Any], count: int) -> tuple[dict[str, Any], Outcome]:
    """Accuracy that the attack leaves, of all the first `count` test digits."""
    images, labels = digits("mnist")
    found = run(attack, target, Misclassify(labels[:count]), images[:count], engine=Engine(250))
    return share(int((~found.success).sum()), count), found


def pgd40(target: Classifier, eps: float, count: int = 2000) -> dict[str, Any]:
    """Under PGD-40 with steps of 0.01, as in the MNIST challenge."""
    return attacked(target, PGD(Linf(eps), steps=40, step_size=0.01), count)[0]


def strongest(target: Classifier, ball: Ball, count: int = 1000) -> dict[str, Any]:
    """Under our own cascade."""
    return attacked(target, Auto(ball), count)[0]


def median(found: Outcome) -> float | None:
    """The median distance of the digits that fell, those that were wrong before left out."""
    sizes = found.distance[found.success & ~found.already]
    return float(sizes.median()) if len(sizes) else None
