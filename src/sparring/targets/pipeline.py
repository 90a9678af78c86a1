"""`Pipeline`: a target behind transforms and detectors (a defence, a camera, a flow field, a patch).

Pipeline(target, RandomShift(2))          a model behind a camera that is not held still
Pipeline(target, FlowField())             PGD(Linf(1)) on it moves pixels and not their values
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..access import Decisions
from ..errors import ConfigError, TargetError
from ..goals import DetectorOutputs, Goal, Undetected
from ..inputs import Images, Inputs
from ..random import Key
from ..shapes import FloatBatch
from ..transforms import Detector, PipelinePart, Stage, Transform, networks, transform_with_bpda
from .classifier import Classifier
from .target import Target, WrappedTarget, answered
from .wrapped_outputs import change_outputs, fuse_answers, with_alarm

T = TypeVar("T", bound=Decisions)
INSIDE = -1  # the target draws from key.reseeded(-1), whatever is put before it; part i from key.reseeded(i)


class Pipeline(WrappedTarget[T]):
    """`target` behind `parts`, through which inputs pass in this order.

    Args:
        target: the model at the end; its task and its access are those of the pipeline.
        parts: transforms, which change the inputs, and detectors, which may reject the inputs as they are at that
            point. The inputs of the pipeline are of the kind that the first transform with `inputs` declares.
        votes: passes of one answer, each with new draws; the task fuses their outputs.
        fuse: how votes are fused, one of `target.task.fusions`; None: the first of them.
        draws: passes over which a query of an attack is averaged, where the parts are random (EOT).

    Outputs are those of the target, mapped back by each transform (`Transform.restore`) to the coordinates of the
    inputs. With detectors among the parts they are `DetectorOutputs(outputs, alarm)`, the alarm being the highest of
    all detectors, averaged over the votes; an example must then also be undetected (`adapt_goal`).

    Raises: TargetError, ConfigError.
    """

    def __init__(
        self, target: Target[T], *parts: PipelinePart, votes: int = 1, fuse: str | None = None, draws: int = 1
    ) -> None:
        for part in parts:
            if not isinstance(part, Transform | Detector):
                raise TargetError(f"{part!r} is no part of a pipeline; pass a Transform or a Detector")
        if not isinstance(target, Target):
            raise TargetError(f"a {type(target).__name__} is no target; wrap it: Pipeline(Classifier(model), ...)")
        super().__init__(target)
        for part in parts:
            served = part.tasks if isinstance(part, Transform) else None
            if served is not None and target.task is not None and not isinstance(target.task, served):
                raise TargetError(
                    f"{part.name} moves pixels and cannot bring the outputs of {target.task.name} back, so that "
                    "what it moves would count as missed; use a transform with restore(), as RandomShift"
                )
        _check_kinds(target, parts)
        for word, number in (("votes", votes), ("draws", draws)):
            if not isinstance(number, int) or number < 1:
                raise ConfigError(f"{word}={number!r}; pass an int >= 1")
        self.parts, self.votes, self.fuse, self._draws = parts, votes, fuse, draws
        if target.task is not None:
            target.task.check_fusion(fuse)
        elif votes > 1:
            raise ConfigError(f"votes are fused by the task of the target, and {target.name} has none; pass votes=1")
        for word, number in (("votes", votes), ("draws", draws)):
            if number > 1 and not self.stochastic:
                raise ConfigError(f"{word}={number} of what is not random are {number} times the same; leave it out")
        self._asked = 0  # number of calls without a key, each of which draws anew

    @property
    def name(self) -> str:
        return " > ".join([*(part.name for part in self.parts), self.target.name])

    @property
    def inputs(self) -> Inputs:
        own = (part.inputs for part in self.parts if isinstance(part, Transform))
        return next((inputs for inputs in own if inputs is not None), self.target.inputs)

    @property
    def takes_context(self) -> bool:
        beyond_images = any(isinstance(part, Transform) and not isinstance(part, Stage) for part in self.parts)
        return beyond_images or self.target.takes_context

    @property
    def stochastic(self) -> bool:
        return self.target.stochastic or any(part.stochastic for part in self.parts)

    @property
    def draws(self) -> int:
        return max(self._draws, self.target.draws)

    @property
    def may_decline(self) -> bool:
        return self.target.may_decline or any(part.may_decline for part in self.parts)

    @property
    def rejects(self) -> bool:
        """Is there a detector among the parts?"""
        return any(isinstance(part, Detector) for part in self.parts)

    def adapt_goal(self, goal: Goal) -> Goal:
        goal = self.target.adapt_goal(goal)
        return Undetected(goal) if self.rejects and not isinstance(goal, Undetected) else goal

    def __call__(self, images: FloatBatch, key: Key | None = None, context: Any = None) -> Any:
        answers = [self.once(images, draw, context) for draw in self.vote_keys(images, key)]
        if len(answers) == 1:
            return answers[0]
        assert self.target.task is not None
        return fuse_answers(answers, self.target.task, self.fuse)

    def vote_keys(self, images: FloatBatch, key: Key | None) -> list[Key]:
        """Return the keys of the votes; without a key each call draws anew, as when deployed."""
        if key is None:
            key = Key(torch.arange(len(images), device=images.device), self._asked)
            self._asked += 1
        return [key.reseeded(vote) for vote in range(self.votes)] if self.votes > 1 else [key]

    def once(self, images: FloatBatch, key: Key, context: Any = None) -> Any:
        """Return the outputs of one pass: exact, with gradients through the parts, by BPDA where needed."""
        alarms, passed = [], []
        for number, part in enumerate(self.parts):
            theirs = key.reseeded(number)
            if isinstance(part, Detector):
                alarms.append(part.alarm(images, theirs))
            elif isinstance(part, Transform):
                passed.append((part, theirs, context))
                images, context = transform_with_bpda(part, images, theirs, context)
        beside = context if self.target.takes_context else None
        answer = answered(self.target, images, key.reseeded(INSIDE), beside)
        for transform, theirs, before in reversed(passed):
            answer = change_outputs(answer, partial(transform.restore, key=theirs, context=before))
        return with_alarm(answer, torch.stack(alarms).amax(0)) if alarms else answer

    def render(self, x: Tensor, key: Key | None = None, context: Any = None) -> Tensor:
        """Return what the target sees of x (B, ...), with the draws of the first vote."""
        with torch.no_grad():
            drawn = self.vote_keys(x, key)[0]
            for number, part in enumerate(self.parts):
                if isinstance(part, Transform):
                    x, context = transform_with_bpda(part, x, drawn.reseeded(number), context)
        return x

    def check(self, outputs: Any) -> None:
        """Check the target's part of the outputs, and that no alarm is NaN or infinite."""
        self.target.check(outputs.outputs if isinstance(outputs, DetectorOutputs) else outputs)
        if isinstance(outputs, DetectorOutputs) and not bool(outputs.alarm.isfinite().all()):
            raise TargetError(f"a detector of {self.name} gives no finite alarm for the first images; fit it again")

    def identity(self) -> tuple[object, ...]:
        parts = [word for part in self.parts for word in part.identity()]
        return ("pipeline", self.votes, self.fuse, self._draws, *parts, *self.target.identity())

    @contextmanager
    def frozen(self) -> Iterator[None]:
        with ExitStack() as held:
            held.enter_context(self.target.frozen())
            for network in networks(self.parts):
                held.enter_context(held_still(network))
            yield


def _check_kinds(target: Target[Any], parts: tuple[PipelinePart, ...]) -> None:
    """Raise TargetError where a part for images in [0, 1] would be given other inputs."""
    kind = target.inputs
    for part in reversed(parts):
        if isinstance(part, Transform) and part.inputs is not None:
            kind = part.inputs
        if isinstance(part, Stage | Detector) and not (isinstance(kind, Images) and (kind.low, kind.high) == (0, 1)):
            raise TargetError(
                f"{part.name} is of images in [0, 1], and at its place it would be given {kind}; put it behind what "
                "makes images of them, or leave it out"
            )


@contextmanager
def held_still(network: nn.Module) -> Iterator[None]:
    """Keep a network in eval mode, its weights without gradients, and restore it afterwards."""
    with Classifier(network).frozen():
        yield
