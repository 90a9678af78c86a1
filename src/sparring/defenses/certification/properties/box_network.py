"""A network on a box of inputs, as a classifier: [0, 1]^n to logits that say whether constraints are met.

    x = low + (high - low) u,   v = F (y(x), x) + b,   u in [0, 1]^n

where v_k > 0 is the constraint k. Beside the constraints stands a reference of logit -1:

    one of them suffices    logits v_k - 1     an input meets one where it is not classified as the reference
    all are needed          logits -v_k - 1    it meets all where it is classified as the reference

so that the attacks, bounds and searches of classifiers serve any specification, `Misclassify` and `ClassifyAs` of the
reference. Their certified margin is that of -v.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ....goals import ClassifyAs, Misclassify
from ....inputs import Bounded
from ....targets import Classifier
from ....targets.onnx_module import OnnxModule
from .query import Constraint, Vector


class BoxNetwork(nn.Module):
    """See above. `every`: all constraints are needed.

    Args:
        network: inputs (B, *in_shape) to outputs (B, m).
        low, high: (n,) the box.
        constraints: K of them.
        every: all are needed, else one suffices.
    """

    low: Tensor
    width: Tensor
    factors: Tensor
    shift: Tensor

    def __init__(
        self, network: OnnxModule, low: Vector, high: Vector, constraints: Sequence[Constraint], every: bool
    ) -> None:
        super().__init__()
        self.network, self.every = network, every
        n, m = low.size, network.out_size
        self.with_inputs = any(min(one.places) < n for one in constraints)
        factors = np.zeros((len(constraints) + 1, m + n * self.with_inputs))
        sign = -1.0 if every else 1.0
        for row, one in zip(factors, constraints, strict=False):
            row[[at - n if at >= n else m + at for at in one.places]] = [sign * c for c in one.coefficients]
        shift = np.array([*(sign * one.constant - 1 for one in constraints), -1.0])
        for name, value in (("low", low), ("width", high - low), ("factors", factors), ("shift", shift)):
            self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(value)).double())

    def become(self, other: BoxNetwork) -> None:
        """Take the box and the constraints of another, of as many constraints."""
        assert (self.with_inputs, self.shift.shape) == (other.with_inputs, other.shift.shape)
        self.every = other.every
        for name, value in other.named_buffers(recurse=False):
            getattr(self, name).copy_(value)

    def points(self, u: Tensor) -> Tensor:
        """Return the inputs (B, n) of the network at u (B, n)."""
        return self.low + self.width * u

    def forward(self, u: Tensor) -> Tensor:
        """Return the logits (B, K + 1) at u (B, n) in [0, 1]."""
        x = self.points(u)
        outputs = self.network(x.reshape(-1, *self.network.in_shape))
        if self.with_inputs:
            outputs = torch.cat((outputs, x), 1)
        return nn.functional.linear(outputs, self.factors, self.shift)

    def values(self, logits: Tensor) -> Tensor:
        """Return v (B, K) from the logits (B, K + 1)."""
        found = logits[:, :-1] + 1
        return -found if self.every else found

    def margin(self, logits: Tensor) -> Tensor:
        """Return (B,) what is positive where the constraints are met."""
        values = self.values(logits)
        return values.amin(1) if self.every else values.amax(1)

    def classifier(self, name: str) -> Classifier:
        """Return the network as a target."""
        return Classifier(self, inputs=Bounded(0.0, 1.0), name=name)

    def goal(self, rows: int = 1) -> Misclassify | ClassifyAs:
        """Return the goal that is reached where the constraints are met."""
        reference = torch.full((rows,), len(self.shift) - 1, dtype=torch.long)
        return ClassifyAs(reference) if self.every else Misclassify(reference)

    @torch.no_grad()
    def scale(self, u: Tensor) -> float:
        """Return how large the terms are that are added up in a constraint, at most, over u (B, n)."""
        x = self.points(u)
        outputs = self.network(x.reshape(-1, *self.network.in_shape))
        if self.with_inputs:
            outputs = torch.cat((outputs, x), 1)
        sums = outputs.abs() @ self.factors[:-1].abs().t() + (self.shift[:-1] + 1).abs()
        return float(sums.amax())
