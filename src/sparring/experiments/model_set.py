"""Several models side by side, for images of one size, and their data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..targets import Ensemble
from ..zoo import Data, LoadedModel


@dataclass(frozen=True)
class ModelSet:
    """Models by name, what each was loaded as, and the data that they are tried on."""

    targets: dict[str, Any]  # for images of one size
    loaded: dict[str, LoadedModel]
    data: Data


def target_for_size(one: LoadedModel, largest: LoadedModel) -> Any:
    """Return the target of `one` for images of the size of the largest model."""
    if one.input is None or largest.input is None:
        return one.target
    size, whole = (one.input.height, one.input.width), (largest.input.height, largest.input.width)
    return one.target if size == whole else Ensemble([one.target], sizes=[size])
