"""Base class of the minimum-norm attacks."""

from __future__ import annotations

from typing import ClassVar

from ..access import Attack, Keep
from ..access.attack import A, S


class MinimumNormAttack(Attack[A, S]):
    """Base class: attacks that search the smallest perturbation, also after a success; eps may be infinite."""

    uses_region: ClassVar[bool] = True

    @property
    def keep(self) -> Keep:
        """Keep the example with the smallest perturbation, by `measure`."""
        return Keep.SMALLEST
