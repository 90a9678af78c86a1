"""Run attacks over a data set, chunk by chunk: what `sparring attack` does."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ..access import Attack, Budget, Keep, Reason
from ..attacks import PGD
from ..audit.evaluation.predictions import predict, round_to_uint8
from ..audit.evaluation.region_limits import RegionLimits
from ..audit.records.example_files import write_examples
from ..audit.report.gallery import png_bytes
from ..engine import Engine, OutcomeCounts, region_of, run
from ..errors import LockedOut, ThreatError
from ..goals import ClassifyAs, Goal, Misclassify
from ..rows import take
from ..storage import write_atomically
from ..targets import Target
from ..zoo import Chunk, Data, LoadedModel
from .figures import success_curves
from .observer import ExperimentObserver
from .output import refuse_used_folder, report_write_errors

PREVIEWS = 16  # images of the data set whose examples are also written as pictures


@dataclass
class AttackTotals:
    """Sums of one attack over the chunks of a data set."""

    images: int = 0
    already: int = 0  # images on which the goal was met before the attack
    sizes: list[float] = field(default_factory=list)  # of the examples found, in the attack's norm
    queries: list[int] = field(default_factory=list)  # forward passes after which each image fell
    notes: set[str] = field(default_factory=set)
    survive_uint8: int = 0  # examples that still succeed after rounding to 8 bits
    forwards: int = 0
    backwards: int = 0
    seconds: float = 0.0
    counts: OutcomeCounts = field(default_factory=OutcomeCounts)

    @property
    def fell(self) -> int:
        """Return the number of successes of the attack."""
        return len(self.sizes)

    @property
    def attacked(self) -> int:
        """Return the number of images that were answered and on which the goal was not met before the attack."""
        return self.images - self.already - self.unanswered

    @property
    def unanswered(self) -> int:
        """Return the number of images for which the model answered NaN or infinity."""
        return self.counts.reasons[Reason.NON_FINITE]

    def accuracy_at(self, eps: float) -> float:
        """Return the share of all images that are neither unanswered nor lost at a distance up to `eps`."""
        lost = self.images - self.attacked + sum(size <= eps for size in self.sizes)
        return 1 - lost / self.images if self.images else math.nan


@dataclass
class AttackDataset:
    """Run attacks on one model and data set.

    Args:
        loaded: the model, with its name and class names.
        data: the images; without labels the model's own predictions stand in.
        targeted: a class that every image is to be given; None: any wrong one counts.
        batch_size: images per pass.
        seed: of all random draws.
        out: a folder for examples and pictures; None: nothing is written.
        budget: passes per image.
        start_model: the attacker's own model; attacks begin where PGD on it ends.
        mask: bool, like one image or like all of them: true where a value may move; None: everywhere.
    """

    loaded: LoadedModel
    data: Data
    targeted: int | None
    batch_size: int
    seed: int
    out: Path | None
    budget: Budget = field(default_factory=Budget)
    start_model: Target[Any] | None = None
    mask: Tensor | None = None

    def run(self, attacks: list[Attack[Any, Any]], observer: ExperimentObserver | None = None) -> list[AttackTotals]:
        """Run every attack on every chunk, write the examples, and return the totals of each attack.

        Raises: RunError where `out` holds something, or the disk does not take the examples; ThreatError, before any
            attack, for one that knows no mask.
        """
        self.check_folder()
        first = next(iter(self.data.chunks(1)))
        limits = RegionLimits.make(self.mask, None, tuple(first.images.shape[1:]))
        for attack in attacks if self.mask is not None else ():
            attack.check(region_of(attack, self.loaded.target, first.images, limits.rows(0, 1).mask, None))
        observer = observer or ExperimentObserver()
        totals = [AttackTotals() for _ in attacks]
        for chunk in self.data.chunks(self.batch_size):
            labels, goal = self.goal(chunk)
            mask = limits.rows(chunk.first, len(chunk.images)).mask
            for index, attack in enumerate(attacks):
                before = (chunk.first + len(chunk.images) * index / len(attacks)) / len(self.data)
                share = len(chunk.images) / len(attacks) / len(self.data)
                engine = Engine(self.batch_size, self.seed, progress=observer.steps(f"{attack.ball}: ", before, share))
                self.attack_chunk(chunk, labels, goal, mask, index, attack, totals[index], engine)
        return totals

    def check_folder(self) -> None:
        """Raise RunError where the folder for examples holds something already."""
        if self.out is not None:
            refuse_used_folder(self.out)

    def write_curves(self, attacks: list[Attack[Any, Any]], totals: list[AttackTotals]) -> None:
        """Write success as pictures into `out`.

        Against queries as `queries.png`; against the distance as `distances.png` where attacks have no radius.
        """
        assert self.out is not None
        title = f"{self.loaded.name} on {self.data.name}"
        pairs = list(zip(attacks, totals, strict=True))
        axes: tuple[tuple[bool, Literal["queries", "distance"]], ...] = ((True, "queries"), (False, "distance"))
        for has_radius, axis in axes:
            here = [(attack, total) for attack, total in pairs if math.isfinite(attack.ball.eps) == has_radius]
            named = {f"{attack.name} {attack.ball}": total for attack, total in here}
            fell = {name: total.queries if has_radius else total.sizes for name, total in named.items()}
            attacked = {name: total.attacked for name, total in named.items()}
            if named:
                with report_write_errors(self.out):
                    self.out.mkdir(parents=True, exist_ok=True)
                    name = "queries.png" if has_radius else "distances.png"
                    write_atomically(self.out / name, success_curves(fell, attacked, title, axis))

    def goal(self, chunk: Chunk) -> tuple[Tensor, Goal]:
        """Return the chunk's labels (B,), the model's own where there are none, and the attacker's goal."""
        labels = chunk.labels
        if labels is None:
            labels = predict(self.loaded.target, chunk.images, self.batch_size).predicted
        goal = Misclassify(labels) if self.targeted is None else ClassifyAs(torch.full_like(labels, self.targeted))
        return labels, goal

    def attack_chunk(
        self,
        chunk: Chunk,
        labels: Tensor,
        goal: Goal,
        mask: Tensor | None,
        index: int,
        attack: Attack[Any, Any],
        totals: AttackTotals,
        engine: Engine,
    ) -> None:
        """Run one attack on one chunk, add to its totals, and write its examples."""
        indices = torch.arange(chunk.first, chunk.first + len(chunk.images))
        start = self.start(attack, goal, chunk.images, mask, indices, engine)
        outcome = run(
            attack,
            self.loaded.target,
            goal,
            chunk.images,
            indices=indices,
            mask=mask,
            start=start,
            budget=self.budget,
            engine=engine,
        )
        found = outcome.success & ~outcome.already
        totals.images += len(outcome)
        totals.already += int(outcome.already.sum())
        totals.sizes += outcome.distance[found].tolist()
        totals.queries += outcome.queries_to_success[found].tolist()
        totals.notes |= set(outcome.notes[: len(outcome.notes) - len(outcome.remarks)])
        totals.forwards += int(outcome.passes.forwards.sum())
        totals.backwards += int(outcome.passes.backwards.sum())
        totals.seconds += outcome.seconds
        totals.counts.add(outcome.counts)
        if bool(found.any()):
            with suppress(LockedOut):
                rounded = predict(self.loaded.target, round_to_uint8(outcome.examples[found]), self.batch_size)
                totals.survive_uint8 += int((take(goal, found)(rounded.outputs).margin > 0).sum())
        if self.out is not None:
            self.save(chunk, labels, f"{index}-{attack.name}".replace(" ", "-").lower(), outcome.examples, found)

    def start(
        self,
        attack: Attack[Any, Any],
        goal: Goal,
        images: Tensor,
        mask: Tensor | None,
        indices: Tensor,
        engine: Engine,
    ) -> Tensor | None:
        """Return images (B, C, H, W) to begin at, where PGD on the attacker's own model ends; None without one."""
        if self.start_model is None:
            return None
        if not math.isfinite(attack.ball.eps):
            raise ThreatError("--start-on needs a radius for the attack on that model; add --threat linf:8/255")
        found = run(
            PGD(attack.ball),
            self.start_model,
            goal,
            images,
            indices=indices,
            mask=mask,
            keep=Keep.HIGHEST_LOSS,
            engine=engine,
        )
        return found.examples

    def save(self, chunk: Chunk, labels: Tensor, stem: str, examples: Tensor, found: Tensor) -> None:
        """Write the chunk's examples, and pictures of the first that were found."""
        assert self.out is not None
        tensors = {"examples": examples, "originals": chunk.images, "labels": labels, "success": found}
        with report_write_errors(self.out):
            write_examples(self.out / f"{stem}-{chunk.first:06d}.safetensors", tensors)
            for row in found.nonzero().squeeze(1).tolist():
                if chunk.first + row < PREVIEWS:
                    name = f"{stem}-{chunk.first + row:06d}"
                    write_atomically(self.out / f"{name}-original.png", png_bytes(chunk.images[row]))
                    write_atomically(self.out / f"{name}-adversarial.png", png_bytes(examples[row]))
