"""Base class of the minimum-norm attacks."""

from __future__ import annotations

from typing import ClassVar

from ..access import Attack, Keep
from ..access.attack import A, S


class MinimumNormAttack(Attack[A, S]):
    """An attack that goes on after the first example, to a smaller one; its ball may be infinite."""

    uses_region: ClassVar[bool] = True

    @property
    def keep(self) -> Keep:
        """The smallest example, in the norm of the ball or in `measure`."""
        return Keep.SMALLEST
