"""What APGD and L1-APGD share: the checkpoints of their step sizes, radii that shrink, the check of their loss."""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import ConfigError
from ...goals import Climb


def checkpoints(steps: int) -> list[int]:
    """Return the steps after which APGD judges its step sizes, in whole steps as in the authors' code.

    The first is w_1 = 0.22 steps, and each interval is 0.03 steps shorter than the last, down to 0.06 steps.
    """
    first, less, least = (max(int(share * steps), 1) for share in (0.22, 0.03, 0.06))
    marks: list[int] = []
    interval = first
    while sum(marks[-1:]) + interval < steps:
        marks.append(sum(marks[-1:]) + interval)
        interval = max(interval - less, least)
    return marks


def radius_at(t: int, steps: int, radii: Sequence[tuple[float, float]]) -> tuple[float, int, int]:
    """Return at step t the radius in eps, the steps since it was set, and how many it has.

    `radii` are pairs of a radius in eps and a share of the steps, the last of which has what is left.
    """
    earlier = 0
    for factor, share in radii[:-1]:
        length = int(share * steps)
        if t < earlier + length:
            return factor, t - earlier, length
        earlier += length
    return radii[-1][0], t - earlier, steps - earlier


def check_loss(attack: str, loss: object) -> None:
    """Raise ConfigError for a `loss` that is neither a Climb, such as DLR(), nor None."""
    if not isinstance(loss, Climb | None):
        raise ConfigError(f"{attack} loss={loss!r}; pass a Climb, such as DLR(), or None")
