"""Every attack on one defence: what each leaves on fresh answers, and what more draws add."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

import sparring as sp
from benchmarks.defenses.randomization.contests import Contest
from benchmarks.defenses.randomization.options import Options
from sparring.goals import Goal, Margin
from sparring.intervals import Z_95, wilson
from sparring.random import Key
from sparring.targets import Surrogate, Target, answered

FRESH = 1 << 50  # where the seeds of our own looks begin
GREY_DRAWS = 20
LONGER = 20  # times the steps, with one draw: as many passes as 20 draws


def measure(contest: Contest, options: Options) -> dict[str, Any]:
    """The contest's record."""
    defended, images, labels = contest.defended, contest.images, contest.labels
    looks = contest.looks
    clean = [accuracy(judged(target, images, labels, looks), looks) for target in (contest.bare, defended)]
    return {
        "defence": repr(defended.parts[0]) if defended.parts else "layers of the net",
        "net": defended.target.name,
        "other": None if contest.other is None else contest.other.name,
        "votes": defended.votes,
        "steps": contest.steps,
        "looks": looks,
        "clean": {"bare": clean[0], "defended": clean[1]},
        "radii": {
            word: at_radius(contest, options, eps, whole=place == 0)
            for place, (word, eps) in enumerate(contest.radii.items())
        },
    }


def at_radius(contest: Contest, options: Options, eps: float, whole: bool) -> dict[str, Any]:
    """Every attack within `eps`; unless `whole`, without those that take many passes and say less."""
    defended, images, by_margin = contest.defended, contest.images, sp.Misclassify(contest.labels, loss=Margin())
    engine = sp.Engine(options.batch_size, confirmation_samples=contest.looks)
    rates: dict[int, Tensor] = {}
    rows: list[dict[str, Any]] = []

    def attack(word: str, view: Target[Any], times: int = 1, goal: Goal = contest.goal) -> Tensor:
        pgd = sp.attacks.PGD(sp.Linf(eps), steps=contest.steps * times)
        found = sp.run(pgd, view, goal, images, engine=engine)
        left = accuracy(found.success_rate, contest.looks)
        steps = contest.steps * times
        rows.append({"attack": word, "draws": view.draws, "steps": steps, "seconds": found.seconds, **left})
        print(f"  {eps:.4f} {word}: {100 * left['share']:.1f} % left, {found.seconds:.0f} s", flush=True)
        return found.success_rate

    attack("PGD on the bare model", contest.bare)
    attack("unaware", defended.naive_view())
    if contest.other is not None:
        attack("another net", Surrogate(defended, contest.other))
    for draws in contest.draws:
        rates[draws] = attack(eot(draws), defended.adaptive_view(draws))
    chosen = defended.adaptive_view(goal=contest.goal, images=images).draws
    if whole and contest.costly and chosen not in rates:
        attack(eot(chosen), defended.adaptive_view(chosen))
    if contest.costly:
        most = max(contest.draws)
        attack(f"{eot(most)}, on the margin", defended.adaptive_view(most), goal=by_margin)
    if whole and contest.costly and contest.other_defended is not None:
        theirs = contest.other_defended.adaptive_view(GREY_DRAWS)
        attack(f"another net, defended, {GREY_DRAWS} draws", Surrogate(defended, theirs))
    if whole and contest.costly:
        attack(f"EOT, 1 draw, {LONGER} times the steps", defended.adaptive_view(1), LONGER)
    pairs = zip(contest.draws[:-1], contest.draws[1:], strict=True)
    gains = [{"from": few, "to": many, **gain(rates[few], rates[many])} for few, many in pairs]
    return {"chosen": chosen, "rows": rows, "gains": gains}


def eot(draws: int) -> str:
    return f"EOT, {draws} draw{'s' * (draws > 1)}"


def judged(target: Target[Any], images: Tensor, labels: Tensor, looks: int) -> Tensor:
    """(N,) share of wrong answers to these images."""
    ids, wrong = torch.arange(len(images), device=images.device), torch.zeros(len(images), device=images.device)
    looks = looks if target.stochastic else 1
    with target.frozen(), torch.no_grad():
        for rows in ids.split(250):
            for look in range(looks):
                answers = answered(target, images[rows], Key(ids[rows], FRESH + look))
                wrong[rows] += (answers.argmax(1) != labels[rows]).float()
    return wrong / looks


def accuracy(rate: Tensor, looks: int) -> dict[str, Any]:
    """The share of right answers, given each image's share of wrong ones, with two intervals of 95 %.

    `low` and `high` are over images: Wilson's, as if each image were all or nothing, which makes it the widest.
    `fresh` is over the fresh answers to these images: share +- fresh.
    """
    rate, count = rate.double().cpu(), len(rate)
    share = 1 - float(rate.mean())
    low, high = wilson(share * count, count)  # type: ignore[arg-type]
    fresh = Z_95 * math.sqrt(float((rate * (1 - rate)).sum()) / (looks - 1)) / count
    return {"share": share, "low": low, "high": high, "fresh": fresh, "of": count}


def gain(few: Tensor, many: Tensor) -> dict[str, float]:
    """By how much more draws lower the accuracy, image by image, with its 95 % interval."""
    change = (many - few).double().cpu()
    mean, spread = float(change.mean()), Z_95 * float(change.std()) / math.sqrt(len(change))
    return {"lower": mean, "least": mean - spread, "most": mean + spread}
