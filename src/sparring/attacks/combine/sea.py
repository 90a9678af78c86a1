"""SEA, the segmentation ensemble attack (Croce, Singh & Hein 2024, arXiv:2306.12941, section 3.6).

    APGD on the masked cross-entropy, on its class-balanced form, and on the Jensen-Shannon divergence,

each with steps at 2 eps, 1.5 eps and eps in turn; of each image the worst example is kept.

Departures: the softmax of the losses has one temperature for all pixels of an image; and where the mean IoU is asked
for, `segmentation_metrics.worst_mean_iou` chooses among the examples of several runs (`SEA(...).parts`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from ...access import Attack, Gradients, PositiveInt
from ...geometry import L2, Ball, Linf
from ...goals import JensenShannon, MaskedCrossEntropy
from ..gradient import APGD
from ..gradient.apgd import APGDState
from .sequential import SequentialAttack


@dataclass(frozen=True)
class SEA(SequentialAttack[Gradients, APGDState]):
    """Run APGD on three losses of segmentation.

    For the lowest pixel accuracy of each image rather than the first success run it with
    `MisclassifyPixels(labels, 1.0, margin_in="parts")` and `keep=Keep.HIGHEST_MARGIN`.

    Args:
        ball: Linf or L2 with a finite eps.
        steps: gradient steps for each of the three losses (300 in the paper).
    """

    ball: Ball
    steps: PositiveInt = 300

    norms: ClassVar[tuple[type[Ball], ...]] = (Linf, L2)
    alternative: ClassVar[str] = "PGD"
    spends_radius: ClassVar[bool] = True

    @cached_property
    def parts(self) -> tuple[Attack[Gradients, APGDState], ...]:
        """The three runs."""
        losses = MaskedCrossEntropy(), MaskedCrossEntropy(balanced=True), JensenShannon()
        return tuple(APGD(self.ball, self.steps, loss, use_largereps=True) for loss in losses)
