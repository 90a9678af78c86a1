"""Are there gradients, and do they lead anywhere?"""

from __future__ import annotations

from typing import Any

from ...access import Keep, Reason
from .diagnostic_attacks import Diary, Walk
from .sample import Sample

FORWARDS = 12  # passes per image and draw


def slopes(sample: Sample) -> dict[str, Any]:
    """Counts of images: `zero`, the margin has no gradient; `vanished`, only the loss has none; `unmoved`, ten small

    steps along the gradient bring the margin no higher; `non_finite`, a gradient is NaN or infinite.
    """
    diary = Diary()
    outcome = sample.attacked(Walk(sample.ball, diary), Keep.WORST)
    still, flat, gain = (diary.joined(name) for name in ("still", "flat", "gain"))
    broken = outcome.reason == int(Reason.NON_FINITE)
    return {
        "of": len(sample),
        "at": str(sample.ball),
        "zero": int((flat & ~broken).sum()),
        "vanished": int((still & ~flat & ~broken).sum()),
        "unmoved": int((~(gain > 0) & ~flat & ~broken).sum()),
        "non_finite": int(broken.sum()),
    }
