"""Adam (Kingma & Ba 2015, arXiv:1412.6980, algorithm 1) on tensors with one row per example.

    m = beta1 m + (1 - beta1) g,   v = beta2 v + (1 - beta2) g^2
    update = step_size / (1 - beta1^n) * m / (sqrt(v / (1 - beta2^n)) + epsilon)

The caller keeps the number of steps n: rows begin anew at different times, or components have a count each.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..geometry import rowwise


@dataclass(frozen=True)
class Adam:
    """The moments of Adam: row-wise, and part of an attack's state."""

    mean: Tensor  # (B, ...) m
    square: Tensor  # (B, ...) v

    @classmethod
    def zeros_like(cls, variable: Tensor) -> Adam:
        """Return the moments before the first step, for a variable (B, ...)."""
        return cls(torch.zeros_like(variable), torch.zeros_like(variable))

    def step(
        self,
        grad: Tensor,
        step_size: float | Tensor,
        count: int | Tensor,
        *,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float | Tensor = 1e-8,
    ) -> tuple[Tensor, Adam]:
        """Return the update (B, ...), which a descent subtracts, and the moments after the step.

        Args:
            grad: (B, ...) the gradient.
            step_size: in units of the variable: a number, (B,), or shaped to broadcast over `count`.
            count: n, 1 at the first step: a number, (B,), or one per component.
            beta1: the share of m that is kept.
            beta2: the share of v that is kept.
            epsilon: what is added to the root, a number or (B,).
        """
        n = count.to(grad.dtype) if isinstance(count, Tensor) else count
        mean = self.mean.lerp(grad, 1 - beta1)
        square = (self.square * beta2).addcmul_(grad, grad, value=1 - beta2)
        root = (square / _shaped(1 - beta2**n, grad)).sqrt_().add_(_shaped(epsilon, grad))
        return mean / root * _shaped(step_size / (1 - beta1**n), grad), Adam(mean, square)

    def reset_(self, rows: Tensor) -> Adam:
        """Return the moments with zeros in these rows (B,) bool; the tensors of `self` are used up."""
        where = rowwise(rows, self.mean)
        return Adam(self.mean.masked_fill_(where, 0), self.square.masked_fill_(where, 0))


def _shaped(value: float | Tensor, like: Tensor) -> float | Tensor:
    """The value, with axes added at its end until it broadcasts over `like`."""
    return value.view(*value.shape, *[1] * (like.ndim - value.ndim)) if isinstance(value, Tensor) else value
