"""`Query`: what a VNN-LIB file asks, as boxes of inputs with linear constraints on inputs and outputs.

The file describes what must not happen. The query is `unsat`, and the property proven, where no input of any of its
regions, with the outputs that the network gives it, meets all constraints of one of the region's conjunctions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Constraint:
    """sum_i coefficients_i v_i + constant >= 0, or > 0 where it is `strict`.

    Args:
        places: which values, inputs (0 to n - 1) before outputs (n to n + m - 1), each in row-major order.
        coefficients: one for each place.
        constant: in float64, as the text has it.
        strict: equality does not suffice.
    """

    places: tuple[int, ...]
    coefficients: tuple[float, ...]
    constant: float
    strict: bool

    def holds(self, values: Sequence[float] | Vector) -> bool:
        """Does it hold at finite inputs and outputs (n + m,), without a tolerance and without rounding?"""
        products = (
            Fraction(c) * Fraction(float(values[at])) for c, at in zip(self.coefficients, self.places, strict=True)
        )
        value = sum(products, Fraction(self.constant))
        return value > 0 if self.strict else value >= 0


Conjunction = tuple[Constraint, ...]


@dataclass(frozen=True)
class Region:
    """A box of inputs, and conjunctions of constraints of which one suffices.

    Args:
        low, high: (n,) the bounds as they are written, in float64.
        open_low, open_high: (n,) bool: the bound itself does not belong to the box.
        conjunctions: of what a box cannot say; an empty one holds everywhere.
    """

    low: Vector
    high: Vector
    open_low: NDArray[np.bool_]
    open_high: NDArray[np.bool_]
    conjunctions: tuple[Conjunction, ...]

    def contains(self, x: Vector) -> bool:
        """Do the inputs (n,) lie in the box as it is written, without a tolerance?"""
        above = np.where(self.open_low, x > self.low, x >= self.low)
        below = np.where(self.open_high, x < self.high, x <= self.high)
        return bool((above & below).all())

    def met(self, x: Vector, y: Vector) -> Conjunction | None:
        """Return the first conjunction that holds for the inputs (n,) and outputs (m,), not looking at the box."""
        values = np.concatenate((x, y))
        return next((one for one in self.conjunctions if all(part.holds(values) for part in one)), None)


@dataclass(frozen=True)
class Tensor:
    """An input or an output as the file declares it; `shape` is None in VNN-LIB 1.0, which numbers components."""

    name: str
    kind: str  # real, float32 or float64
    shape: tuple[int, ...] | None
    size: int
    onnx_name: str | None = None


@dataclass(frozen=True)
class Query:
    """A VNN-LIB file.

    Args:
        version: 1 or 2.
        inputs, outputs: the tensors.
        regions: those whose box holds an input; none: the query is unsatisfiable whatever the network.
    """

    version: int
    inputs: Tensor
    outputs: Tensor
    regions: tuple[Region, ...]
