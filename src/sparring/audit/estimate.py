"""The estimate of `--dry-run`: which attacks would run, their passes at most, and the time they would take.

An attack's passes are counted by running it once on a stand-in that never gives in and always seems about to, so that
no attack gives an image up; where an attack is bought by the query, its budget is the limit. Seconds are those of one
small batch. Images that fall early, or are given up, cost less.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..access import Gradients
from ..attacks import PGD
from ..engine import Engine, run
from ..geometry import Linf
from ..geometry.region import Region
from ..goals import Misclassify
from ..inputs import Inputs
from ..random import Key
from ..rows import to
from ..targets import Classifier, Defended, Target, answered
from ..threats import BALLS
from ..transforms import Detector
from .audit import check_suites
from .evaluation.admission import Admission
from .evaluation.attacker_views import EvaluatedTarget, evaluated_target, knows_detector, restricted
from .evaluation.cascade import scheduled_attacks
from .evaluation.clean_chunk import CleanChunk
from .evaluation.predictions import CONFIRMATION_SAMPLES, predict
from .parallel.chunk_worker import ChunkWorker
from .request import AuditRequest
from .suites.suite_entry import SuiteEntry

BATCH = 8  # images that are timed
CLASSES = 10
STEPS = 5
BAR = 1e-3  # the stand-in's margin stays below this


@dataclass(frozen=True)
class EstimateLine:
    """One attack at one radius under one seed, with the largest number of passes for one image."""

    threat: str
    view: str
    attack: str
    access: str
    forwards: int
    backwards: int


@dataclass(frozen=True)
class Estimate:
    """The attacks that would run, with their passes and time."""

    lines: tuple[EstimateLine, ...]
    images: int | None
    forward_seconds: float  # of one image
    backward_seconds: float
    certificates: int = 0  # radii at which images that withstand the attacks have certificates
    certify_timeout: float = 0.0

    @property
    def certificate_seconds(self) -> float | None:
        """The largest time of branch and bound for all images; None where their number is not known."""
        return None if self.images is None else self.images * self.certificates * self.certify_timeout

    @property
    def forwards(self) -> int:
        """The largest number of forward passes for one image."""
        return sum(line.forwards for line in self.lines)

    @property
    def backwards(self) -> int:
        return sum(line.backwards for line in self.lines)

    @property
    def seconds(self) -> float | None:
        """The largest time for all images; None where their number is not known."""
        each = self.forwards * self.forward_seconds + self.backwards * self.backward_seconds
        return None if self.images is None else self.images * each


def estimate(request: AuditRequest) -> Estimate:
    """Estimate what `audit` would do with the request; one small batch is evaluated, and nothing is written."""
    admission = Admission(restricted(request.target, request.plan), request.plan, request.limits)
    first = admission.check_first(request.source)
    evaluated = evaluated_target(request.target, request.plan, first, request.surrogate)
    for _, view in evaluated.views:
        check_suites(view, request.plan, first)
    known, limit = request.source.candidates, request.plan.limit
    images = limit if known is None else known if limit is None else min(known, limit)
    if request.plan.certify:
        ChunkWorker(evaluated, admission).capture(first.images)
    certified = sum(len(threat.radii) for threat in request.plan.certified_threats)
    lines, times = tuple(estimate_lines(evaluated, request, first)), time_passes(evaluated.strongest, first)
    return Estimate(lines, images, *times, certified, request.plan.certify_timeout)


def estimate_lines(evaluated: EvaluatedTarget, request: AuditRequest, first: CleanChunk) -> list[EstimateLine]:
    """List every attack of every view at every radius."""
    plan, found = request.plan, []
    places = [
        (f"{threat.norm} {radius.text}", ball)
        for threat in plan.threats
        for radius, ball in zip(threat.radii, threat.balls(), strict=True)
    ]
    places += [(f"{norm}, smallest", BALLS[norm]()) for norm in plan.smallest]
    samples = CONFIRMATION_SAMPLES if evaluated.target.stochastic else 1
    for words, ball in places:
        for view in range(len(evaluated.views)):
            for scheduled in scheduled_attacks(evaluated, ball, plan, view):
                region = first.region(torch.arange(1), scheduled.entry.attack.ball, scheduled.target.inputs)
                forwards, backwards = count_passes(scheduled.entry, region, knows_detector(scheduled.target))
                draws = scheduled.target.draws
                checks = 5 * samples  # the engine's checks before and after, and the audit's of each example
                access = scheduled.entry.access.__name__
                found.append(
                    EstimateLine(
                        words,
                        scheduled.view,
                        scheduled.entry.name,
                        access,
                        forwards * draws + checks,
                        backwards * draws,
                    )
                )
    return found


def count_passes(entry: SuiteEntry, region: Region, rejects: bool = False) -> tuple[int, int]:
    """Return forward and backward passes of the one input of `region`, at most; `rejects`: by who knows of a detector.

    The stand-in is a classifier, whatever the task: attacks on one rival class after another try no more than it has.
    """
    if entry.transferred:
        return 1, 0
    attack, seeing = entry.attack, issubclass(entry.access, Gradients)
    if entry.budget is not None and entry.budget.forwards is not None:
        return entry.budget.forwards, 0
    goal = Misclassify(torch.zeros(1, dtype=torch.long))
    model = stand_in_model(region.x, region.inputs)
    target: Target[Any] = Defended(model, AcceptAll()).adaptive_view() if rejects else model
    eps = region.eps if isinstance(region.radius, Tensor) or region.radius != attack.ball.eps else None
    spent = run(attack, target, goal, region.x, mask=region.free, eps=eps).passes
    least = attack.total_steps if seeing else 0
    return max(int(spent.forwards), attack.total_steps), max(int(spent.backwards), least)


class AcceptAll(Detector):
    """A detector that lets everything pass."""

    def alarm(self, images: Tensor, key: Key) -> Tensor:
        return 0 * images.flatten(1).sum(1) - 1


def stand_in_model(image: Tensor, inputs: Inputs) -> Classifier:
    """Return a model whose margin rises with every query and never reaches zero."""
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn((image.numel(), CLASSES - 1), generator=generator) / image.numel()
    asked = 0

    def logits(x: Tensor) -> Tensor:
        nonlocal asked
        asked += 1
        others = BAR / 10 * (x.flatten(1).float() @ weights).tanh()
        return torch.cat((torch.full_like(others[:, :1], BAR + 1 / (1 + asked)), others), dim=1)

    return Classifier(logits, name="stand-in", inputs=inputs)


def time_passes(view: Target[Any], first: CleanChunk) -> tuple[float, float]:
    """Return seconds of a forward and of a backward pass of one image, in a small batch."""
    images = first.images[:BATCH]
    rows = torch.arange(len(images))
    key, context = first.key(rows, 0, 0), first.context_of(rows)
    predict(view, images, BATCH, key, context)
    clock = time.perf_counter()
    predict(view, images, BATCH, key, context)
    forward = (time.perf_counter() - clock) / len(images)
    if not issubclass(view.access, Gradients):
        return forward, 0.0
    own = time_one_answer(view, images, key, context)
    goal, tiny = first.goal(rows), Linf(1e-6 * view.inputs.scale)
    clock = time.perf_counter()
    spent = run(
        PGD(tiny, steps=STEPS),
        view,
        goal,
        images,
        context=context,
        engine=Engine(batch_size=BATCH, confirmation_samples=1),
    ).passes
    seconds = time.perf_counter() - clock - int(spent.checks.sum()) * forward - int(spent.forwards.sum()) * own
    return forward, max(own, seconds / max(1, int(spent.backwards.sum())))  # the clock is coarse; no less than forward


def time_one_answer(view: Target[Any], images: Tensor, key: Key, context: Any) -> float:
    """Return seconds that the view takes to answer one image, which the defence in use may have to do several times."""
    key = replace(key, indices=key.indices.to(view.device))
    with view.frozen(), torch.no_grad():
        clock = time.perf_counter()
        answered(view, images.float().to(view.device), key, to(context, view.device))
        return (time.perf_counter() - clock) / len(images)
