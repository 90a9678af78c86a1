"""What a defence is worth: right answers unharmed, under an attacker who does not know it, and under one who does.

The adaptive attacker takes for each image the worst of several examples: PGD of 100 small steps on the cross-entropy
and on the margin through `audited`; `Auto` through it where nothing is random; what the unaware attacker found; where a
gradient is only stood in for, 2,000 queries of Square; and where something rejects, a joint loss of three weights, and
orthogonal steps. What is chosen is judged once more, by 50 fresh answers of the defence in use.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

import sparring as sp
from benchmarks.training.measures import share
from sparring.attacks import OrthogonalPGD
from sparring.goals import DetectorOutputs, Margin
from sparring.random import Key
from sparring.rows import take
from sparring.targets import Classifier, Defended, Target, answered
from sparring.transforms import Stage

STEPS, SMALL = 100, 0.05  # of eps
LOOKS, WEIGHTS, TIMED, QUERIES = 50, (0.3, 1.0, 3.0), 5, 2000
FRESH = 1 << 50


@dataclass(frozen=True)
class Setting:
    """Images that the bare model gets right, and the ball around them."""

    images: Tensor
    labels: Tensor
    ball: sp.Linf
    batch_size: int = 100
    looks: int = LOOKS  # fresh answers, of a random defence

    @property
    def goal(self) -> sp.Misclassify:
        return sp.Misclassify(self.labels)


def rates(target: Target[Any], setting: Setting, images: Tensor) -> Tensor:
    """(N,) share of fresh answers in which the attacker has won."""
    looks = setting.looks if target.stochastic else 1
    won = torch.zeros(len(images), device=images.device)
    for rows in torch.arange(len(images), device=images.device).split(setting.batch_size):
        goal = target.adapt_goal(take(setting.goal, rows))
        with target.frozen(), torch.no_grad():
            for look in range(looks):
                answers = answered(target, images[rows], Key(rows, FRESH + look))
                won[rows] += (goal.margin(answers) > 0).float()
    return won / looks


def standing(won: Tensor) -> dict[str, Any]:
    """The expected share of right answers, with an interval over the images."""
    lost, count = float(won.sum()), len(won)
    return share(round(count - lost), count) | {"share": 1 - lost / count}


def unharmed(target: Target[Any], setting: Setting) -> dict[str, Any]:
    """Right and accepted."""
    won = rates(target, setting, setting.images)
    rejected = torch.zeros_like(won)
    with target.frozen(), torch.no_grad():
        for rows in torch.arange(len(won), device=won.device).split(setting.batch_size):
            answers = answered(target, setting.images[rows], Key(rows, FRESH))
            if isinstance(answers, DetectorOutputs):
                rejected[rows] = (answers.alarm > 0).float()
    return standing(won + rejected) | {"rejected": float(rejected.mean())}


def milliseconds(target: Target[Any], setting: Setting) -> float:
    """Of the clock, per image in use; the median of five batches."""
    images, spent = setting.images[: setting.batch_size], []
    key = Key(torch.arange(len(images), device=images.device), 0)
    with target.frozen(), torch.no_grad():
        for _ in range(TIMED + 1):
            began = time.perf_counter()
            answered(target, images, key)
            if images.is_cuda:
                torch.cuda.synchronize()
            spent.append(time.perf_counter() - began)
    return 1000 * sorted(spent[1:])[TIMED // 2] / len(images)


def worth(
    target: Classifier | Defended, setting: Setting, draws: int | None = None, steps: int = STEPS, looks: int = LOOKS
) -> dict[str, Any]:
    """The record of one defence."""
    setting = replace(setting, looks=looks)
    defended = isinstance(target, Defended)
    record: dict[str, Any] = {"steps": steps, "looks": looks, "clean": unharmed(target, setting)}
    record["milliseconds"] = milliseconds(target, setting)
    began, found = time.perf_counter(), []
    engine = sp.Engine(batch_size=setting.batch_size, confirmation_samples=1)
    pgd = sp.attacks.PGD(setting.ball, steps=steps, step_size=SMALL * setting.ball.eps)
    if defended:
        naive = sp.run(sp.attacks.PGD(setting.ball), target.naive_view(), setting.goal, setting.images, engine=engine)
        found.append(naive.examples)
        record["unaware"] = standing(rates(target, setting, naive.examples))
    for view, attack, goal in adaptive(target, setting, pgd, draws):
        found.append(sp.run(attack, view, goal, setting.images, engine=engine).examples)
        record["draws"] = max(view.draws, record.get("draws", 1))
    every = torch.stack([rates(target, setting, examples) for examples in found])
    worst = torch.stack(found)[every.argmax(0), torch.arange(len(setting.labels), device=every.device)]
    won = rates(target, setting, worst)
    record["adaptive"] = standing(won)
    record["attack_seconds"] = time.perf_counter() - began
    return record


def adaptive(target: Classifier | Defended, setting: Setting, pgd: sp.attacks.PGD, draws: int | None) -> Any:
    """Views, attacks and goals of one who knows the defence."""
    by_margin = sp.Misclassify(setting.labels, loss=Margin())
    if not isinstance(target, Defended):
        yield target, sp.attacks.Auto(setting.ball), setting.goal
        return
    some = setting.images[:16]
    goal = take(setting.goal, torch.arange(len(some), device=some.device))
    draws = target.adaptive_view(draws, goal=goal, images=some).draws
    for weight in WEIGHTS if target.rejects else WEIGHTS[1:2]:
        view = target.adaptive_view(draws, weight=weight)
        yield view, pgd, setting.goal
        yield view, pgd, by_margin
    if target.rejects:
        for orthogonal in (True, False):
            yield view, OrthogonalPGD(setting.ball, steps=pgd.steps, orthogonal=orthogonal), setting.goal
    if not target.stochastic:
        yield target.adaptive_view(), sp.attacks.Auto(setting.ball), setting.goal
    if not target.stochastic and any(isinstance(part, Stage) and not part.differentiable for part in target.parts):
        yield target, sp.attacks.Square(setting.ball, n_queries=QUERIES), setting.goal
