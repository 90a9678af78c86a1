"""`Outcome`, the result of `run` with one entry per image, and `Passes`."""

from __future__ import annotations

from dataclasses import dataclass, fields

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
    passes: Passes
    queries_to_success: IntPerRow  # forward passes up to the first success; -1: no success
    reason: IntPerRow  # uint8: codes of Reason
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
    def attack_success_rate(self) -> float:
        """The share of successes among the rows on which the goal was not met before the attack."""
        stood = ~self.already
        return float(self.success[stood].float().mean()) if bool(stood.any()) else float("nan")

    @property
    def robust_accuracy(self) -> float:
        """The share of all rows on which the goal was met neither before nor after the attack.

        Where answers are random it is an expectation: one minus the mean of `success_rate`.
        """
        return 1.0 - float(self.success_rate.mean()) if len(self) else float("nan")

    @property
    def reasons(self) -> list[Reason]:
        return [Reason(code) for code in self.reason.tolist()]

    def __str__(self) -> str:
        sizes = self.distance[self.success & ~self.already]
        median = f", median distance {float(sizes.median()):.4g}" if len(sizes) else ""
        spent = self.passes.forwards, self.passes.backwards
        forwards, backwards = (float(each.float().mean()) for each in spent)
        return (
            f"{self.attack}: robust accuracy {self.robust_accuracy:.1%} of {len(self)}, "
            f"success {self.attack_success_rate:.1%}{median}, "
            f"{forwards:.1f} forward and {backwards:.1f} backward passes per row, {self.seconds:.2f} s"
            + "".join(f"; {note}" for note in self.notes)
        )


def joined(parts: list[Outcome], seconds: float) -> Outcome:
    """Outcomes of consecutive rows as one."""

    def cat(name: str, of: list[object]) -> Tensor:
        return torch.cat([getattr(part, name) for part in of])

    whole = [f.name for f in fields(Outcome) if f.name not in ("passes", "seconds", "attack", "goal", "notes")]
    passes = Passes(**{f.name: cat(f.name, [part.passes for part in parts]) for f in fields(Passes)})
    tensors = {name: cat(name, list(parts)) for name in whole}
    notes = tuple(sorted({note for part in parts for note in part.notes}))
    return Outcome(passes=passes, seconds=seconds, attack=parts[0].attack, goal=parts[0].goal, notes=notes, **tensors)
