"""`Outcome`, the result of `run` with one entry per image, and `Passes`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace

import torch
from torch import Tensor

from ..access import Reason
from ..shapes import BoolPerRow, FloatBatch, FloatPerRow, IntPerRow


@dataclass(frozen=True)
class Passes:
    """Passes per row, each (N,) int64.

    `forwards` and `backwards` are the attack's. `checks` are the engine's own forward passes: the evaluation of the
    clean image, and the final confirmation. A model that counts its forward passes sees forwards + checks.
    """

    forwards: IntPerRow
    backwards: IntPerRow
    checks: IntPerRow


@dataclass(frozen=True)
class Outcome:
    """The result of `run`: N rows in the order of the images, on their device and in their dtype, detached."""

    examples: FloatBatch  # (N, C, H, W) in [0, 1]; the image itself where no example was found
    success: BoolPerRow  # the returned example meets the goal, measured again; if stochastic, in most answers
    distance: FloatPerRow  # norm of example - image in the attack's norm; inf without success
    eps: FloatPerRow  # the radius of each row; inf for a minimum-norm attack without one
    passes: Passes
    queries_to_success: IntPerRow  # forward passes up to the first success; -1: no success
    reason: IntPerRow  # uint8: codes of Reason
    zero_gradient: BoolPerRow  # the row's gradients were asked for, and all of them were exactly zero
    success_rate: (
        FloatPerRow  # share of fresh answers that meet the goal on the example; 0 or 1 unless answers are random
    )
    seconds: float
    attack: str
    goal: str
    notes: tuple[str, ...] = ()  # messages for the reader, as that the target locked the attacker out

    def __len__(self) -> int:
        return len(self.success)

    @property
    def already(self) -> BoolPerRow:
        """(N,) bool: rows on which the goal was met before the attack."""
        return self.reason == Reason.ALREADY

    @property
    def unanswered(self) -> BoolPerRow:
        """(N,) bool: rows for which the target answered NaN or infinity; they are neither successes nor robust."""
        return self.reason == Reason.NON_FINITE

    @property
    def robust(self) -> BoolPerRow:
        """(N,) bool: rows that were answered, and on which the goal was met neither before nor after the attack."""
        return ~(self.success | self.unanswered)

    @property
    def attack_success_rate(self) -> float:
        """The share of successes among the rows that answered and on which the goal was not met before the attack."""
        stood = ~(self.already | self.unanswered)
        return float(self.success[stood].float().mean()) if bool(stood.any()) else float("nan")

    @property
    def robust_accuracy(self) -> float:
        """The share of all rows that are `robust`; for a minimum-norm attack without a radius see `accuracy_at`.

        Where answers are random it is an expectation: one minus the mean of `success_rate`.
        """
        lost = torch.where(self.unanswered, 1.0, self.success_rate.float())
        return 1.0 - float(lost.mean()) if len(self) else float("nan")

    @property
    def has_radius(self) -> bool:
        """Whether any row has a finite radius."""
        return bool(self.eps.isfinite().any())

    def accuracy_at(self, eps: float) -> float:
        """Return the robust accuracy at a radius: the share of all rows without an example within `eps`."""
        lost = self.unanswered | (self.success & (self.distance <= eps))
        return 1.0 - float(lost.float().mean()) if len(self) else float("nan")

    @property
    def reasons(self) -> list[Reason]:
        return [Reason(code) for code in self.reason.tolist()]

    @property
    def counts(self) -> OutcomeCounts:
        """The counts that `remarks` reads."""
        codes = self.reason.tolist()
        return OutcomeCounts(len(self), int(self.zero_gradient.sum()), Counter(Reason(code) for code in codes))

    @property
    def remarks(self) -> tuple[str, ...]:
        """The sentences of `remarks` on this outcome, which are also its last notes."""
        return remarks(self.counts, misclassifies=self.goal == "Misclassify")

    def __str__(self) -> str:
        sizes = self.distance[self.success & ~self.already]
        median = f", median distance {float(sizes.median()):.4g}" if len(sizes) else ""
        spent = self.passes.forwards, self.passes.backwards
        forwards, backwards = (float(each.float().mean()) for each in spent)
        accuracy = f"robust accuracy {self.robust_accuracy:.1%} of {len(self)}, "
        if not self.has_radius:
            radii = typical_radii(sizes.tolist(), whole=bool((sizes == sizes.round()).all()))
            accuracy = f"{len(self)} rows, "
            median += "".join(f", accuracy {self.accuracy_at(eps):.1%} at {eps:g}" for eps in radii)
        return (
            f"{self.attack}: {accuracy}success {self.attack_success_rate:.1%}{median}, "
            f"{forwards:.1f} forward and {backwards:.1f} backward passes per row, {self.seconds:.2f} s"
            + "".join(f"; {note}" for note in self.notes)
        )


@dataclass
class OutcomeCounts:
    """How many rows there are, how many had no gradient but zero, and how many ended for which reason."""

    rows: int = 0
    zero_gradient: int = 0
    reasons: Counter[Reason] = field(default_factory=Counter)

    def add(self, other: OutcomeCounts) -> None:
        """Add the counts of other rows."""
        self.rows += other.rows
        self.zero_gradient += other.zero_gradient
        self.reasons.update(other.reasons)


def remarks(counts: OutcomeCounts, *, misclassifies: bool) -> tuple[str, ...]:
    """Return a sentence for each thing that makes an attack's numbers mean something else than they seem to."""
    reasons, rows, said = counts.reasons, counts.rows, []
    if count := reasons[Reason.NON_FINITE]:
        said.append(
            f"the model answered NaN or infinity on {count} of {rows} rows, which count as not robust: look for the "
            "layer that overflows or divides by zero"
        )
    if count := reasons[Reason.NON_FINITE_GRADIENT]:
        said.append(
            f"a gradient was NaN or infinite on {count} of {rows} rows and was taken as zero, so the attack was weaker "
            "there than it should be"
        )
    if counts.zero_gradient:
        said.append(
            f"every gradient was exactly zero on {counts.zero_gradient} of {rows} rows, where a gradient attack cannot "
            "move: that is no robustness; try Square or HopSkipJump, or give the layer without a gradient an "
            "approximation (BPDA)"
        )
    if 2 * (count := reasons[Reason.ALREADY]) > rows:
        share = f"{count / rows:.0%} of the clean inputs"
        said.append(
            f"the model is wrong on {share}: check labels, mean and std, channel order and size"
            if misclassifies
            else f"the goal is met on {share} before the attack: check the targets"
        )
    return tuple(said)


def typical_radii(distances: Sequence[float], whole: bool = False) -> list[float]:
    """Return three radii around the median of distances, rounded to one digit; none where there are no distances."""
    found = sorted(size for size in distances if 0 < size < math.inf)
    if not found:
        return []
    middle = found[len(found) // 2]
    radii = {float(f"{middle * factor:.1g}") for factor in (0.5, 1.0, 2.0)}
    return sorted({max(1.0, round(one)) for one in radii} if whole else radii)


def with_remarks(outcome: Outcome) -> Outcome:
    """Return the outcome with its `remarks` as the last notes."""
    return replace(outcome, notes=(*outcome.notes, *outcome.remarks))


def joined(parts: list[Outcome], seconds: float) -> Outcome:
    """Outcomes of consecutive rows as one."""

    def cat(name: str, of: list[object]) -> Tensor:
        return torch.cat([getattr(part, name) for part in of])

    whole = [f.name for f in fields(Outcome) if f.name not in ("passes", "seconds", "attack", "goal", "notes")]
    passes = Passes(**{f.name: cat(f.name, [part.passes for part in parts]) for f in fields(Passes)})
    tensors = {name: cat(name, list(parts)) for name in whole}
    notes = tuple(sorted({note for part in parts for note in part.notes}))
    return Outcome(passes=passes, seconds=seconds, attack=parts[0].attack, goal=parts[0].goal, notes=notes, **tensors)
