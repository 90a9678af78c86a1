"""SegPGD: PGD whose loss moves from the pixels that are right to those that are wrong (Gu et al. 2022).

arXiv:2207.12391, eq. 4 and algorithm 1, with t = 0, 1, ..., T - 1:

    L = sum_{right pixels} (1 - lambda) CE + sum_{wrong pixels} lambda CE,   lambda = t / (2 T)

so that the first steps turn the pixels that are still right, and the last weigh all alike.

Departure: the softmax has one temperature for all pixels of an image (`MaskedCrossEntropy`).
"""

from __future__ import annotations

from dataclasses import dataclass

from ...access import Gradients
from ...goals import MaskedCrossEntropy
from .pgd import PGD, PGDState


@dataclass(frozen=True)
class SegPGD(PGD):
    """Ascend the cross-entropy of an image's pixels, of which those that are right weigh more at the beginning.

    Made for segmentation; for a goal of a single part it is PGD. For the lowest pixel accuracy rather than the first
    success run it with `MisclassifyPixels(labels, 1.0, margin_in="parts")` and `keep=Keep.HIGHEST_MARGIN`.

    Args:
        ball, steps, step_size, random_start: as those of PGD.
    """

    def step(self, oracle: Gradients, state: PGDState, t: int) -> PGDState:
        return super().step(oracle.with_loss(MaskedCrossEntropy(t / (2 * self.steps))), state, t)
