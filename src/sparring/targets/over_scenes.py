"""`OverScenes`: EOT for a variable shared by many scenes (a patch), evaluated on scenes drawn anew for each query.

    placed = Pipeline(detector, PlacePatch())
    target = OverScenes(placed, Vanish(boxes), Scene(images, boxes), scenes_per_question=32)
    run(PGD(Linf(1.0)), target, FoolScenes(torch.zeros(1)), torch.full((1, 3, 64, 64), 0.5))

The variable is one row of the attack, so that every attack can make patches; each query is an expectation over scenes.
"""

from __future__ import annotations

from typing import Any, TypeVar

import torch

from ..access import Decisions, Decoupled
from ..errors import ConfigError, GoalError, TargetError
from ..goals import FoolScenes, Goal, RegularizedGoal, SceneTerms
from ..random import Key
from ..rows import take, to
from ..shapes import FloatBatch
from ..tasks import Task
from .target import Target, WrappedTarget, answered, check_rows, check_task

T = TypeVar("T", bound=Decisions)


class OverScenes(WrappedTarget[T]):
    """A target whose rows are variables, each evaluated on `target` in scenes that are drawn anew for each query.

    Args:
        target: a target that takes the variable (B, ...) and a scene as its context: a `Pipeline` whose first transform
            puts the variable on the images of the scene.
        goal: the goal in each of the N scenes.
        scenes: the context, a row-wise record with N rows.
        scenes_per_question: S, drawn with repetition; one query makes S passes of the target.

    Outputs are the terms of the drawn scenes, `SceneTerms` (B, S, K), which the goal `FoolScenes` judges. Answers are
    random, so that a success is confirmed on new scenes and new draws of the target.

    Raises: TargetError, ConfigError, GoalError, InputError.
    """

    def __init__(self, target: Target[T], goal: Goal, scenes: Any, scenes_per_question: int = 32) -> None:
        if not isinstance(target, Target):
            raise TargetError(f"a {type(target).__name__} is no target; pass Pipeline(Classifier(model), PlacePatch())")
        if not isinstance(goal, Goal):
            raise GoalError(f"a {type(goal).__name__} is no goal; pass that of the scenes, as Misclassify(labels)")
        super().__init__(target)
        if not target.takes_context:
            raise TargetError(
                f"{target.name} takes no context, so that it knows no scene; pass Pipeline(target, PlacePatch()) or "
                "another transform that puts the variable on images"
            )
        if not isinstance(scenes_per_question, int) or scenes_per_question < 1:
            raise ConfigError(f"scenes_per_question={scenes_per_question!r}; pass an int >= 1")
        if len(goal) == 0:
            raise ConfigError("there are no scenes: the goal has 0 rows")
        check_task(target, goal)
        check_rows(scenes, len(goal), "scene")
        self.goal, self.scenes = target.adapt_goal(to(goal, target.device)), to(scenes, target.device)
        if isinstance(self.goal, RegularizedGoal):
            raise TargetError(
                "the penalties inside OverScenes would be lost among its scenes; put them around it: "
                "Regularized(OverScenes(...), ...)"
            )
        self.scenes_per_question, self._questions, self._checked = scenes_per_question, 0, False

    @property
    def name(self) -> str:
        return f"{self.target.name} over {len(self.goal)} scenes"

    @property
    def task(self) -> Task | None:
        return None

    @property
    def takes_context(self) -> bool:
        return False

    @property
    def stochastic(self) -> bool:
        return True

    @property
    def draws(self) -> int:
        return 1

    def adapt_goal(self, goal: Goal) -> Goal:
        if not isinstance(goal, FoolScenes):
            wrong = type(goal).__name__
            raise TargetError(f"{self.name} answers with the terms of scenes; pass FoolScenes, not {wrong}")
        return goal

    def __call__(self, images: FloatBatch, key: Key | None = None, context: Any = None) -> Any:
        if key is None:
            key = Key(torch.arange(len(images), device=images.device), self._questions)
            self._questions += 1
        count = self.scenes_per_question
        drawn = key.integers("scenes", (count,), len(self.goal)).flatten()
        theirs = Key(key.indices.repeat_interleave(count), key.seed)
        theirs = theirs.at(torch.arange(count, device=images.device).repeat(len(images)))
        answer = answered(self.target, images.repeat_interleave(count, 0), theirs, take(self.scenes, drawn))
        goal = take(self.goal, drawn)
        if not self._checked:
            first = answer.judged_outputs if isinstance(answer, Decoupled) else answer
            self.target.check(first)
            goal.check(first, self.goal)
            self._checked = True
        if isinstance(answer, Decoupled):
            judged, climbed = (self._terms(goal, one) for one in (answer.judged_outputs, answer.gradient_outputs))
            return Decoupled(judged, climbed)
        return self._terms(goal, answer)

    def _terms(self, goal: Goal, outputs: Any) -> SceneTerms:
        """Return the terms of the drawn scenes, (B, S, K)."""
        terms = goal.terms(outputs)
        return SceneTerms(terms.values.view(-1, self.scenes_per_question, terms.values.shape[1]), terms.every)

    def check(self, outputs: SceneTerms) -> None:
        """Check nothing: the first call has checked the target's outputs against the goal of the scenes."""

    def identity(self) -> tuple[object, ...]:
        return ("over scenes", self.scenes_per_question, self.goal, self.scenes, *self.target.identity())
