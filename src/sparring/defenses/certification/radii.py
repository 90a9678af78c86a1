"""Certificates at several radii of one norm: what one radius decides is not worked out again at another.

What is broken at a radius is broken at all larger ones, and what is proven at a radius is proven at all smaller ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from ...access import Jacobians
from ...access.attack import Attack
from ...geometry import Ball
from ...goals import Goal
from ...rows import take
from .graph import Network
from .verify import Certificates, Status, verify

STATUSES = tuple(Status)
CODES = {status: code for code, status in enumerate(STATUSES)}  # as tensors hold them


def verify_radii(
    network: Network,
    goal: Goal,
    images: Tensor,
    balls: Sequence[Ball],
    *,
    known: Tensor | None = None,
    attack: Attack[Jacobians, object] | Literal["auto"] | None = "auto",
    timeout: float = 60.0,
    mask: Tensor | None = None,
    eps: Tensor | None = None,
    before: Callable[[int], None] = lambda number: None,
) -> list[Certificates]:
    """Return what `verify` finds at each radius, where another radius does not decide.

    With an attack the smallest radius comes first, whose examples serve all larger ones; without, the largest, whose
    proofs serve all smaller ones. What was carried from another radius has cost nothing.

    Args:
        network, goal, images, attack, timeout, mask, eps: as for `verify`.
        balls: (R) of one norm, their radii rising.
        known: (R, B) uint8, what is known beforehand, as numbers in `STATUSES`: images that are PROVEN or BROKEN at a
            radius are not asked about there, nor where that decides. Their method is "known".
        before: is told the number of a radius before it is worked on.

    Raises:
        TargetError, InputError, ThreatError, GoalError, ConfigError: as `verify`.
    """
    codes = torch.full((len(balls), len(images)), CODES[Status.OPEN]) if known is None else known
    found = [beforehand(images, row) for row in codes.tolist()]
    for number in range(len(balls)):
        carry(found, number)
    order = range(len(balls)) if attack is not None else reversed(range(len(balls)))
    for number in order:
        before(number)
        rows = found[number].which(Status.OPEN).nonzero().flatten()
        if not len(rows):
            continue
        left = rows.to(images.device)
        fresh = verify(
            network,
            take(goal, left),
            images[left],
            balls[number],
            timeout=timeout,
            mask=None if mask is None else mask[left],
            eps=None if eps is None else eps[left],
            attack=attack,
        )
        found[number] = replaced(found[number], rows, fresh)
        carry(found, number)
    return found


def beforehand(images: Tensor, codes: list[int]) -> Certificates:
    """Return what is known before any work, without a bound, an example or a cost."""
    nothing = torch.zeros(len(images), dtype=torch.float64)
    return Certificates(
        tuple(STATUSES[code] for code in codes),
        torch.full_like(nothing, -torch.inf),
        images,
        tuple("none" if STATUSES[code] is Status.OPEN else "known" for code in codes),
        nothing,
        nothing.long(),
        nothing,
    )


def carry(found: list[Certificates], number: int) -> None:
    """Decide in place, at no cost, what is open at other radii and decided by the one of this number."""
    for other in range(len(found)):
        decides = Status.BROKEN if other > number else Status.PROVEN
        gained = found[other].which(Status.OPEN) & found[number].which(decides)
        if other != number and bool(gained.any()):
            rows = gained.nonzero().flatten()
            found[other] = replaced(found[other], rows, at_no_cost(taken(found[number], rows)))


def taken(certificates: Certificates, rows: Tensor) -> Certificates:
    """Return the certificates of some rows (Q,)."""
    places, values = rows.tolist(), columns(certificates)
    return Certificates(
        status=tuple(certificates.status[row] for row in places),
        methods=tuple(certificates.methods[row] for row in places),
        **{name: value[rows.to(value.device)] for name, value in values.items()},
    )


def at_no_cost(certificates: Certificates) -> Certificates:
    """Return the same verdicts, at no cost of their own."""
    free = {name: torch.zeros_like(getattr(certificates, name)) for name in ("seconds", "domains")}
    return Certificates(status=certificates.status, methods=certificates.methods, **columns(certificates) | free)


def replaced(before: Certificates, rows: Tensor, verdicts: Certificates) -> Certificates:
    """Return `before` with the certificates of some rows (Q,) replaced."""
    status, methods = list(before.status), list(before.methods)
    for place, row in enumerate(rows.tolist()):
        status[row], methods[row] = verdicts.status[place], verdicts.methods[place]
    values = {
        name: value.index_copy(0, rows.to(value.device), getattr(verdicts, name).to(value.dtype))
        for name, value in columns(before).items()
    }
    return Certificates(status=tuple(status), methods=tuple(methods), **values)


def columns(certificates: Certificates) -> dict[str, Any]:
    """Return the tensors of certificates by name, each with a row for each image."""
    return {name: getattr(certificates, name) for name in ("lower", "examples", "seconds", "domains", "slack")}
