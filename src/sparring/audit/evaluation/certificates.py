"""Certificates of the images that withstand all attacks: proven, broken by branch and bound, or open.

Bounds (intervals, CROWN, alpha-CROWN) are computed for several images at once, branch and bound for one at a time. What
an attack broke is not asked about; what a radius decides is not asked at others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ...access import Jacobians, Reason
from ...defenses.certification import Certificates, Network, Status
from ...defenses.certification.graph import as_classifier
from ...defenses.certification.radii import CODES, replaced, taken, verify_radii
from ...errors import ConfigError, SparringError, TargetError
from ...geometry import Ball
from ...goals import ClassifyAs, Misclassify
from ...rows import to
from ...targets import Defended, Restricted, Target
from ...threats import Norm
from ...zoo import Chunk
from ..plan import AuditPlan
from ..suites.suite import MAX_ATTACKS, SEARCH, SEARCH_TURN
from .clean_chunk import CleanChunk
from .confirmation import AttackResult, AttackSlot, measure_examples, select_examples
from .predictions import CPU, DRAW_OFFSET

LEAVE = "leave certify out"


@dataclass(frozen=True)
class CertificateTask:
    """Images of one chunk, one after the other, whose certificates are asked for.

    Args:
        chunk: the G images.
        labels, aims: (G,) the classes of the records; `aims` is None where the goal is any wrong class.
        known: (R, G) uint8 for each norm, what is known at its radii, as numbers in `STATUSES`; what is OPEN is asked.
        timeout: seconds of branch and bound for each image and radius.
    """

    chunk: Chunk
    labels: Tensor
    aims: Tensor | None
    known: dict[Norm, Tensor]
    timeout: float


@dataclass(frozen=True)
class CertifiedRadius:
    """The certificates of the images that were open at a radius; `rows` (Q,) are positions in the task."""

    norm: Norm
    eps: float
    rows: Tensor
    certificates: Certificates


@dataclass(frozen=True)
class CertifiedImages:
    """What one task has brought: certificates, and what branch and bound did as an attack."""

    number: int
    clean: CleanChunk
    radii: list[CertifiedRadius]
    searches: list[AttackResult]
    searched: bool  # by branch and bound


def network_of(target: Target[Any], plan: AuditPlan, images: Tensor) -> Network:
    """Capture the network of the audited classifier, for inputs like `images` (B, ...).

    Raises: TargetError or ConfigError for what has no certificates, with the reason and the cure.
    """
    if plan.access in ("scores", "decisions"):
        raise ConfigError(
            f"access={plan.access!r} audits a black box, and certificates are made of the network's weights; leave one "
            "of the two out"
        )
    inside = target.target if type(target) is Restricted and plan.access is not None else target
    if isinstance(inside, Defended):
        raise TargetError(
            f"{inside.name} stands behind a defence, and certificates are of a plain classifier; audit that without "
            f"the defence, or {LEAVE}"
        )
    try:
        return Network(as_classifier(inside), images[:1].float().to(inside.device))
    except SparringError as error:
        raise type(error)(f"no certificates: {error}; or {LEAVE}") from error


def certify(
    network: Network, target: Target[Any], clean: CleanChunk, task: CertificateTask, plan: AuditPlan
) -> tuple[list[CertifiedRadius], list[AttackResult]]:
    """Return the certificates of a task's images at all radii, and what branch and bound did as an attack."""
    device = network.target.device
    images, goal = clean.images.float().to(device), to(clean.goal(), device)
    mask, eps = (None if one is None else one.to(device) for one in (clean.limits.mask, clean.limits.eps))
    radii: list[CertifiedRadius] = []
    searches: list[AttackResult] = []
    for threat in plan.certified_threats:
        balls, known = threat.balls(), task.known[threat.norm]
        found = verify_radii(
            network,
            goal,
            images,
            balls,
            known=known,
            attack=None,
            timeout=task.timeout,
            mask=mask,
            eps=None if eps is None else eps.to(images.dtype),
        )
        for number, ball in enumerate(balls):
            before = known[number] if number == 0 else broken_at(found[number - 1], known[number])
            for result in search_results(target, clean, found[number], before, ball, threat.norm, number, plan):
                searches.append(result)
                unconfirmed = result.rows[result.reason == int(Reason.UNCONFIRMED)]
                found[number] = reopened(found[number], unconfirmed)
            rows = (known[number] == CODES[Status.OPEN]).nonzero().flatten()
            radii.append(CertifiedRadius(threat.norm, ball.eps, rows, taken(found[number], rows)))
    return radii, searches


def broken_at(smaller: Certificates, known: Tensor) -> Tensor:
    """Return what is known at a radius (G,), where examples at the next smaller one serve too."""
    return torch.where(smaller.which(Status.BROKEN), CODES[Status.BROKEN], known)


def reopened(found: Certificates, rows: Tensor) -> Certificates:
    """Return the certificates with broken rows open, whose example did not hold when it was measured again."""
    return replaced(found, rows, replace(taken(found, rows), status=(Status.OPEN,) * len(rows)))


def search_results(
    target: Target[Any],
    clean: CleanChunk,
    found: Certificates,
    known: Tensor,
    ball: Ball,
    norm: Norm,
    number: int,
    plan: AuditPlan,
) -> Iterator[AttackResult]:
    """Yield what branch and bound did at a radius, on the images that it looked at there, as an attack's result."""
    opened = known == CODES[Status.OPEN]
    broken = found.which(Status.BROKEN) & opened
    rows = (opened & ((found.domains.cpu() > 0) | broken)).nonzero().flatten()
    if not len(rows):
        return
    slot = AttackSlot(
        norm, ball.eps, "", SEARCH_TURN, plan.seed, DRAW_OFFSET + MAX_ATTACKS * (number + 1) + SEARCH_TURN
    )
    hit = rows[broken[rows]]
    images = found.examples.float().cpu()[hit]
    examples, rate = measure_examples(target, clean, hit, images, ball, slot, plan.batch_size)
    holds = rate > 0.5
    whole, kept = torch.zeros(len(rows)), torch.zeros(len(rows), dtype=torch.bool)
    whole[broken[rows]], kept[broken[rows]] = rate, holds
    reason = torch.full((len(rows),), int(Reason.EXHAUSTED))
    reason[found.which(Status.OPEN)[rows]] = int(Reason.BUDGET)
    reason[broken[rows]] = torch.where(holds, int(Reason.FOUND), int(Reason.UNCONFIRMED))
    none = torch.zeros(len(rows), dtype=torch.long)
    yield AttackResult(
        slot=slot,
        attack=SEARCH,
        access=Jacobians.__name__,
        rows=rows,
        fell=kept,
        claimed=kept.float(),
        rate=whole,
        forwards=none,
        backwards=none,
        checks=none,
        first=torch.where(kept, 0, -1),
        reason=reason,
        seconds=float(found.seconds.cpu()[rows].sum()),
        kept=kept,
        examples=select_examples(examples, holds),
    )


def with_recorded_classes(clean: CleanChunk, task: CertificateTask) -> CleanChunk:
    """Return the chunk with the classes of the records: predictions may round otherwise among other images."""
    aim = None if task.aims is None else ClassifyAs(task.aims.to(CPU))
    return replace(clean, truth=Misclassify(task.labels.to(CPU)), aim=aim)
