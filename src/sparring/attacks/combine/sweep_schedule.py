"""The schedule of `Sweep`: blocks of six rounds, of five kinds, each kind with its own number of steps."""

from __future__ import annotations

import math
from dataclasses import dataclass

# TARGETED ascends a rival class's margin, DIVERSE an output direction and then the margin, NEAR_BEST the margin from
# near the best point; SEARCH_BEST and SEARCH_LAST query like Square from the best and from the last point.
TARGETED, DIVERSE, NEAR_BEST, SEARCH_BEST, SEARCH_LAST = (
    "targeted",
    "diverse",
    "near best",
    "search best",
    "search last",
)
BLOCK = (TARGETED, TARGETED, SEARCH_BEST, DIVERSE, SEARCH_LAST, NEAR_BEST)
SEARCHES = (SEARCH_BEST, SEARCH_LAST)
FIRST_STEP = {TARGETED: 2.0, DIVERSE: 1.0, NEAR_BEST: 0.25}  # the first step size of an ascent, in eps


@dataclass(frozen=True)
class SweepSchedule:
    """The lengths of the rounds.

    Args:
        odi_steps: steps along a random direction of the outputs, in DIVERSE rounds.
        gradient_steps: steps up the loss, in TARGETED, DIVERSE and NEAR_BEST rounds.
        n_queries: queries of a SEARCH round.
    """

    odi_steps: int
    gradient_steps: int
    n_queries: int

    def length(self, number: int) -> int:
        """Return the number of steps of a round."""
        kind = BLOCK[number % len(BLOCK)]
        return self.n_queries if kind in SEARCHES else self.gradient_steps + self.odi_steps * (kind == DIVERSE)

    @property
    def block_length(self) -> int:
        """The number of steps of a block."""
        return sum(map(self.length, range(len(BLOCK))))

    def round_at(self, t: int) -> tuple[int, int]:
        """Return the number of the round of step t, and the number of the step within the round."""
        number = 0
        while t >= self.length(number):
            t -= self.length(number)
            number += 1
        return number, t

    def step_size(self, number: int, place: int) -> float:
        """Return the size of step `place` of an ascent, in eps: along the outputs eps, then a cosine down to 0."""
        kind = BLOCK[number % len(BLOCK)]
        done = place - self.odi_steps if kind == DIVERSE else place
        return 1.0 if done < 0 else FIRST_STEP[kind] * (1 + math.cos(math.pi * done / self.gradient_steps)) / 2
