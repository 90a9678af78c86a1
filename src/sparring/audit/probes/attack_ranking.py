"""The probe that compares attacks: PGD, a single step, noise, queries, and examples of another model.

All on the same images in the same ball, each with its highest margin. Who knows more, or does more, must not do worse.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ...access import Gradients, Keep
from ...attacks import FGSM, MIFGSM, PGD, Square
from ...goals import LogOdds
from ..suites.suite import TRANSFER_STEPS
from .diagnostic_attacks import RandomNoise
from .sample import ProbeSample

STEPS, QUERIES = 20, 50
SLACK = 0.05  # of what PGD gains on the image: differences below are no difference
FORWARDS = STEPS + 3 + 3 + STEPS + 2 + QUERIES + 2  # passes per image and draw, about


def rank_attacks(sample: ProbeSample) -> dict[str, Any] | None:
    """Return counts of images on which another comes closer to an error than PGD; None without gradients."""
    if not issubclass(sample.view.access, Gradients):
        return None
    ball, own = sample.ball, sample.evaluated.surrogate

    def reached(attack: Any) -> Tensor:
        # far from an error, where margins are compared too, all rivals count, not the nearest alone
        return sample.margins(sample.attack(attack, loss=LogOdds()).examples)

    pgd, clean = reached(PGD(ball, steps=STEPS)), sample.margins(sample.images)
    slack = SLACK * (pgd - clean).clamp_min(0)
    found: dict[str, Any] = {
        "of": len(sample),
        "at": str(ball),
        "single_step": int((reached(FGSM(ball)) > pgd + slack).sum()),
        "noise": int((reached(RandomNoise(ball, STEPS)) >= pgd - slack).sum()),
        "queries": int((reached(Square(ball, n_queries=QUERIES)) > pgd + slack).sum()),
        "transfer": None,
    }
    if own is not None:
        made = sample.attack(MIFGSM(ball, steps=TRANSFER_STEPS), Keep.HIGHEST_LOSS, target=own)
        found["transfer"] = int((sample.margins(made.examples) > pgd + slack).sum())
        found["surrogate_fell"] = int(made.success.sum())
    return found
