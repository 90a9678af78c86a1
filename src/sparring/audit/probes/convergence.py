"""The probes of attack strength: does an unbounded attack always succeed, and do more steps help?"""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import Any

import torch

from ...access import Attack, Gradients, Keep, Reason
from ...attacks import PGD, Auto, AutoAttack, Cascade, Restarts, Rivals, Sweep
from ...geometry import Linf
from ..suites.suite import suite
from .sample import ProbeSample

STEPS = 50  # of PGD without a bound
TIMES = 4  # as many steps
BLOCKS = 1  # of `Sweep` with that many times the gradient steps
ROWS = 8  # images that the longer attack is tried on at most


def check_convergence(sample: ProbeSample) -> dict[str, Any] | None:
    """Count images that attacks fail on, without a bound on the perturbation and with more steps.

    `unbounded`: images not broken by PGD in the whole valid range, without those in which it loses what a target that
    may decline answers for, as the face; `more`: of `tried`, those broken by the suite's
    strongest attack with more steps, and not by the same attack as it is.

    None without gradients. `unbounded` is None where a mask holds components still, or the range has no end.
    """
    if not issubclass(sample.view.access, Gradients):
        return None
    found: dict[str, Any] = {"of": len(sample), "unbounded": None, "tried": 0}
    width = range_width(sample)
    if math.isfinite(width) and not sample.restricted:
        free = sample.attack(PGD(Linf(width), steps=STEPS), Keep.FIRST)
        lost = free.reason == Reason.NON_FINITE if sample.view.may_decline else torch.zeros_like(free.success)
        found["unbounded"] = int((~free.success & ~lost).sum())
    attack, more = strongest_attack(sample)
    if attack is not None and more is not None:
        rows = torch.arange(min(ROWS, len(sample)))
        fell = rows[sample.attack(more, Keep.FIRST, rows).success]
        held = int((~sample.attack(attack, Keep.FIRST, fell).success).sum()) if len(fell) else 0
        found |= {"tried": len(rows), "attack": attack.name, "at": str(sample.ball), "more": held}
    return found


def range_width(sample: ProbeSample) -> float:
    """Return how far two values of an input may lie apart; infinity where there is no limit."""
    low, high = sample.view.inputs.range_like(sample.images)
    return float(torch.as_tensor(high).max() - torch.as_tensor(low).min())


def strongest_attack(sample: ProbeSample) -> tuple[Attack[Any, Any] | None, Attack[Any, Any] | None]:
    """The suite's last attack with gradients that can be given more steps, and with more; of `Auto` its last part."""
    pair: tuple[Attack[Any, Any] | None, Attack[Any, Any] | None] = (None, None)
    if sample.plan.smallest and not sample.plan.threats:
        return pair
    for entry in suite(sample.view.access, sample.ball, sample.plan):
        attack = entry.attack
        if isinstance(attack, Auto | AutoAttack | Cascade):
            attack = attack.parts[-1]
        more = with_more_steps(attack) if issubclass(entry.access, Gradients) and not entry.transferred else None
        if more is not None:
            pair = (attack, more)
        if isinstance(entry.attack, Auto):
            break
    return pair


def with_more_steps(attack: Attack[Any, Any]) -> Attack[Any, Any] | None:
    """Return the attack with TIMES the steps; None where it has no such number."""
    if isinstance(attack, Sweep):
        return replace(attack, gradient_steps=TIMES * attack.gradient_steps, blocks=min(BLOCKS, attack.blocks))
    if isinstance(attack, Restarts | Rivals):
        inner = with_more_steps(attack.attack)
        return None if inner is None else replace(attack, attack=inner)
    known = {field.name for field in fields(attack)}  # type: ignore[arg-type]
    if "steps" not in known or getattr(attack, "steps", 0) != attack.total_steps:
        return None
    return replace(attack, steps=TIMES * attack.total_steps)  # type: ignore[type-var]
