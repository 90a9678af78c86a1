"""A chain of transfer techniques through which the gradient queries of an attack are answered."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from torch import Tensor

from ...access import Gradient, Gradients, Objective, Render
from ...goals import Climb
from ...random import Key
from .technique import GradientQuery, GradientWithMemory, TransferTechnique, gradient_through


@dataclass
class TechniqueChain:
    """Answers the gradient queries of one step of the inner attack through all techniques (a `GradientTransform`)."""

    techniques: tuple[TransferTechnique, ...]
    key: Key
    step: int
    memory: Tensor  # replaced by the one for the next step

    def __call__(
        self,
        oracle: Gradients,
        variable: Tensor,
        render: Render | None,
        objective: Objective | None,
        loss: Climb | None,
        rows: Tensor | None,
    ) -> Gradient:
        gradient, key, memory, region = partial(_ask_oracle, oracle), self.key, self.memory, oracle.region
        for technique in reversed(self.techniques):
            gradient = partial(technique, gradient)
        if rows is not None:
            key, memory, region = replace(key, indices=key.indices[rows]), memory[rows], region.take(rows)
        query = GradientQuery(variable.detach(), objective, loss, rows, key, self.step, region, memory)
        images = query.images if render is None else render(query.images)
        answer = gradient(query) if render is None else gradient_through(gradient, query, render)
        if isinstance(answer, GradientWithMemory) and rows is None:
            self.memory = answer.memory
        return replace(answer, images=images)


def _ask_oracle(oracle: Gradients, query: GradientQuery) -> Gradient:
    return oracle.gradient(query.images, objective=query.objective, loss=query.loss, rows=query.rows)
