"""Latent descent, the attack on ABS by its own generators (Schott et al. 2019, arXiv:1805.09190, appendix).

    x <- x + step_size (G_k(z*) - x),     k the class other than the true one that explains x best

until the answer is wrong; then a bisection of the last step, and one between the example and the image.

The image is drawn towards the reconstruction by segments, which suits L2. Departure: in Linf and L0 the last
bisection begins at the whole reconstruction and goes the way of the norm, as `Ball.shrink` has it: by clipping, or by
putting back the pixels that are changed least.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from ...access import Batch, Bounds, Decisions, PositiveInt
from ...attacks.minimum_norm import MinimumNormAttack
from ...errors import GoalError, TargetError
from ...geometry import L0, L2, Ball, Linf, rowwise
from ...goals import Goal, Misclassify
from ..purification.checks import cast_to_weights
from .abs import ABS

BISECTIONS = 10


@dataclass(frozen=True)
class LatentDescentState:
    """Where each row is, the class that the model saw in its input, and whether it has succeeded."""

    x: Tensor
    label: Tensor  # (B,) int64
    found: Tensor  # (B,) bool


@dataclass(frozen=True)
class LatentDescent(MinimumNormAttack[Decisions, LatentDescentState]):
    """Find the smallest norm by walking towards what ABS believes another class to look like.

    The attacker has the generators; of the model in use it asks decisions. It walks away from the class that the
    generators explain best at the beginning: it is for the goal `Misclassify`.

    Args:
        ball: L2(), Linf() or L0(); a finite eps asks for examples within it.
        model: the ABS that is attacked, or one like it.
        steps: of the walk, at most.
        step_size: share of the way to the reconstruction that a step goes (0.01 in the paper).
    """

    ball: Ball = L2()
    model: ABS | None = field(default=None, repr=False, compare=False)
    steps: PositiveInt = 100
    step_size: Annotated[float, Bounds(gt=0, le=1)] = 0.01

    norms: ClassVar[tuple[type[Ball], ...]] = (L2, Linf, L0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.model, ABS):
            raise TargetError(
                f"LatentDescent walks towards what an ABS reconstructs; pass model=, not {self.model!r:.60}"
            )

    def check_goal(self, goal: Goal) -> None:
        if not isinstance(goal, Misclassify):
            raise GoalError(
                f"LatentDescent leaves a class, and serves Misclassify alone, not {type(goal).__name__}; use PGD"
            )

    def init(self, oracle: Decisions, batch: Batch) -> LatentDescentState:
        x = batch.x
        bounds, _ = self._explained(x)
        return LatentDescentState(x, bounds.argmax(1), torch.zeros_like(batch.key.indices, dtype=torch.bool))

    def done(self, state: LatentDescentState) -> Tensor:
        return state.found

    def step(self, oracle: Decisions, state: LatentDescentState, t: int) -> LatentDescentState:
        rows = (~state.found & oracle.open()).nonzero().squeeze(1)
        if len(rows) == 0:
            return state
        region, before = oracle.region.take(rows), state.x[rows]
        bounds, every = self._explained(before)
        other = bounds.scatter(1, state.label[rows, None], -torch.inf).argmax(1)
        way = region.masked(every[torch.arange(len(rows), device=rows.device), other] - before)
        moved = region.clamp(before + self.step_size * way)
        success = oracle.decide(moved, rows=rows)
        won = success.nonzero().squeeze(1)
        if len(won):
            self._reduce(oracle, before[won], way[won], rows[won])
        return LatentDescentState(
            state.x.index_copy(0, rows, moved), state.label, state.found.index_copy(0, rows, success)
        )

    def _reduce(self, oracle: Decisions, before: Tensor, way: Tensor, rows: Tensor) -> None:
        """Query nearer and nearer examples of `rows` (Q,), by halving the last step along `way`, then the perturbation.

        Except in L2 that is the whole one to the reconstruction: of one at the boundary every pixel is needed.
        """
        region = oracle.region.take(rows)
        low, high = torch.zeros_like(region.eps), torch.full_like(region.eps, self.step_size)
        segment = isinstance(self.ball, L2)
        for _ in range(BISECTIONS if segment else 0):
            middle = (low + high) / 2
            success = oracle.decide(region.clamp(before + rowwise(middle, way) * way), rows=rows)
            low, high = torch.where(success, low, middle), torch.where(success, middle, high)
        end = high if segment else torch.ones_like(high)
        delta = region.clamp(before + rowwise(end, way) * way) - region.x
        least, most = torch.zeros_like(region.eps), torch.ones_like(region.eps)
        for _ in range(BISECTIONS):
            share = (least + most) / 2
            success = oracle.decide(region.clamp(region.x + region.shrink(delta, share)), rows=rows)
            least, most = torch.where(success, least, share), torch.where(success, share, most)

    def _explained(self, x: Tensor) -> tuple[Tensor, Tensor]:
        assert self.model is not None
        bounds, images = self.model.explain(cast_to_weights(self.model, x))
        return bounds.to(x.dtype), images.to(x.dtype)
