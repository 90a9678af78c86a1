"""`Defended`: a model behind a defence, with the views of a naive and of an adaptive attacker.

    defended = Defended(target, ResizePad(...), JPEG(75), votes=5)
    defended(images)              the deployed model with its defence; it grants scores, and no gradient
    defended.naive_view()         for an attacker without the defence: answers of `defended`, gradients of `target`
    defended.adaptive_view(...)   for an attacker who knows the defence: EOT, BPDA, a joint loss with detectors

The robustness of a defence is the one measured in the adaptive view.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..access import Jacobians, Scores
from ..errors import ConfigError, TargetError
from ..goals import Goal, Undetected
from ..random import Key
from ..rows import to
from ..shapes import FloatBatch
from ..transforms import PipelinePart, Transform
from .eot_budget import draws_for
from .model import Model
from .pipeline import Pipeline
from .surrogate import Surrogate
from .target import Target, WrappedTarget


class Defended(Pipeline[Scores]):
    """`target` behind the stages and detectors of a defence, as it is deployed: it grants scores only.

    Args:
        target: a white box, since its audit must see it; random layers inside it (`Keyed`) belong to the defence.
        parts, votes, fuse: as in `Pipeline`.

    Raises: TargetError, ConfigError.
    """

    def __init__(self, target: Target[Any], *parts: PipelinePart, votes: int = 1, fuse: str | None = None) -> None:
        if not isinstance(target, Target) or not issubclass(target.access, Jacobians):
            raise TargetError(f"a defence is built around a white box, which its audit must see; got {target!r}")
        super().__init__(target, *parts, votes=votes, fuse=fuse)

    @property
    def access(self) -> type[Scores]:
        return Scores

    def __call__(self, images: FloatBatch, key: Key | None = None, context: Any = None) -> Any:
        with torch.no_grad():
            return super().__call__(images, key, context)

    def naive_view(self) -> Surrogate:
        """Return the view of an attacker who knows the model and not its defence."""
        return Surrogate(self, undefended(self.target))

    def adaptive_view(
        self,
        draws: int | None = None,
        *,
        goal: Goal | None = None,
        images: Tensor | None = None,
        context: Any = None,
        weight: float = 1.0,
    ) -> AdaptiveView:
        """Return the view of an attacker who knows the whole defence but its random draws.

        Args:
            draws: passes per query; None: as many as the gradient's variance at `images`, with the `context` beside
                them, under `goal` asks for.
            weight: of the alarm in the joint loss, where a detector may reject.

        Raises:
            ConfigError: a stochastic defence with neither draws nor images to measure them on.
        """
        if draws is None:
            draws = 1
            if self.stochastic:
                if goal is None or images is None:
                    raise ConfigError(f"{self.name} is random: pass draws=, or goal= and images= to measure how many")
                view, there = AdaptiveView(self, 1, weight), self.device
                draws = draws_for(view, view.adapt_goal(to(goal, there)), images.to(there), to(context, there))
        return AdaptiveView(self, draws, weight)


class AdaptiveView(WrappedTarget[Jacobians]):
    """A defence as its adaptive attacker sees it: each query is an expectation over `draws` passes (EOT).

    During the search, success is decided on the same passes; then it is confirmed by the deployed defence, with votes.
    """

    def __init__(self, defended: Defended, draws: int = 1, weight: float = 1.0) -> None:
        super().__init__(defended)
        if not isinstance(draws, int) or draws < 1:
            raise ConfigError(f"draws={draws!r}; pass an int >= 1")
        if draws > 1 and not defended.stochastic:
            raise ConfigError(f"{defended.name} is not random: {draws} draws are one; leave draws out")
        if not 0 <= weight < math.inf:
            raise ConfigError(f"weight={weight!r} of the alarm; pass a number >= 0")
        self.defended, self._draws, self.weight = defended, draws, weight

    @property
    def access(self) -> type[Jacobians]:
        return Jacobians

    @property
    def name(self) -> str:
        draws = f", {self._draws} draws" if self._draws > 1 else ""
        return f"{self.defended.name} (adaptive{draws})"

    @property
    def draws(self) -> int:
        return self._draws

    @property
    def confirming_target(self) -> Target[Any]:
        return self.defended.confirming_target

    def adapt_goal(self, goal: Goal) -> Goal:
        read = self.defended.adapt_goal(goal)
        return replace(read, weight=self.weight) if isinstance(read, Undetected) else read

    def __call__(self, images: FloatBatch, key: Key | None = None, context: Any = None) -> Any:
        return self.defended.once(images, self.defended.vote_keys(images, key)[0], context)

    def identity(self) -> tuple[object, ...]:
        return ("audited", self._draws, self.weight, *self.defended.identity())


def undefended(target: Target[Any]) -> Target[Any]:
    """Return the model without its defence: no stages and detectors before it, and its random layers switched off."""
    if isinstance(target, Pipeline) and all(
        part.inputs is None for part in target.parts if isinstance(part, Transform)
    ):
        return undefended(target.target)
    return target.disable_noise() if isinstance(target, Model) and target.stochastic else target
