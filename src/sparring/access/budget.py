"""`Budget`: how many forward and backward passes an attack may spend on one example."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import BudgetError
from ..scalars import plain_number


@dataclass(frozen=True)
class Budget:
    """Passes per example; None is no limit. A forward pass is one query of one image."""

    forwards: int | None = None
    backwards: int | None = None

    def __post_init__(self) -> None:
        for name in ("forwards", "backwards"):
            limit = plain_number(getattr(self, name))
            object.__setattr__(self, name, limit)
            if limit is not None and (not isinstance(limit, int) or limit < 0):
                raise BudgetError(f"budget {name}={limit!r} is not a number of passes; pass an int >= 0 or None")
