"""The gradient probes: are gradients finite and not zero, and does the loss rise along them?"""

from __future__ import annotations

from typing import Any

from ...access import Keep, Reason
from ...goals.share import ShareGoal
from .diagnostic_attacks import GradientLog, GradientWalk
from .sample import ProbeSample

FORWARDS = 12  # passes per image and draw


def check_gradients(sample: ProbeSample) -> dict[str, Any]:
    """Count the images whose gradients are of no use to an attack.

    `zero`: the gradient of the margin is zero; `vanished`: only that of the loss is; `unmoved`: ten small steps along
    the gradient do not raise the margin; `non_finite`: a gradient is NaN or infinite.
    """
    log = GradientLog()
    walk = GradientWalk(sample.ball, log, by_loss=isinstance(sample.clean.goal(), ShareGoal))
    outcome = sample.attack(walk, Keep.HIGHEST_LOSS)
    zero_loss, flat, gain = (log.joined(name) for name in ("zero_loss_gradient", "zero_margin_gradient", "gain"))
    broken = (outcome.reason == Reason.NON_FINITE) | (outcome.reason == Reason.NON_FINITE_GRADIENT)
    return {
        "of": len(sample),
        "at": str(sample.ball),
        "zero": int((flat & ~broken).sum()),
        "vanished": int((zero_loss & ~flat & ~broken).sum()),
        "unmoved": int((~(gain > 0) & ~flat & ~broken).sum()),
        "non_finite": int(broken.sum()),
    }
