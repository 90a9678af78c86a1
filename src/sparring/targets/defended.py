"""A model behind a defence: what images pass through first, what may reject them, how many answers make a vote.

    defended = Defended(target, ResizePad(...), JPEG(75), votes=5)
    defended(images)          what is in use; it grants scores, and no gradient
    defended.naive_view()        an attacker who knows the model and no defence: answers of one, gradients of the other
    defended.adaptive_view(...)     an attacker who knows all of it: expectation over the draws, BPDA, a joint loss

What a defence is worth is what it withstands in the last view.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..access import Jacobians, Scores
from ..errors import ConfigError, TargetError
from ..goals import DetectorOutputs, Goal, Undetected
from ..inputs import Inputs
from ..random import Key
from ..rows import to
from .classifier import Classifier
from .eot_budget import draws_for
from .stage import Detector, Stage, apply_with_bpda, networks
from .surrogate import Surrogate
from .target import Target, answered

FUSED = ("probabilities", "logits", "majority")


class Defended(Target[Scores]):
    """`target` behind `parts`, which an image meets in their order.

    Args:
        target: a classifier; random layers inside it (`Keyed`) belong to the defence.
        parts: stages, which change the image, and screens, which may reject it as it is at their place.
        votes: passes that one answer is made of, each with fresh draws.
        fuse: how: "probabilities" (log of their mean), "logits" (their mean) or "majority" (log of the share of votes).

    Outputs are logits (B, K), or `DetectorOutputs(logits, alarm)` where there is a screen; the alarm is the loudest of
    all screens, averaged over the votes. Goals are then met by what is undetected too (`reading`).

    Raises: TargetError, ConfigError.
    """

    def __init__(
        self, target: Target[Any], *parts: Stage | Detector, votes: int = 1, fuse: str = "probabilities"
    ) -> None:
        for part in parts:
            if not isinstance(part, Stage | Detector):
                raise TargetError(f"{part!r} is no part of a defence; pass a Stage or a Detector")
        if not isinstance(target, Target) or not issubclass(target.access, Jacobians):
            raise TargetError(f"a defence is built around a white box, which its audit must see; got {target!r}")
        if not isinstance(votes, int) or votes < 1:
            raise ConfigError(f"votes={votes!r}; pass an int >= 1")
        if fuse not in FUSED:
            raise ConfigError(f"fuse {fuse!r} is unknown; pass one of {', '.join(FUSED)}")
        self.target, self.parts, self.votes, self.fuse = target, parts, votes, fuse
        if votes > 1 and not self.stochastic:
            raise ConfigError(f"votes={votes} of a defence without randomness are {votes} times the same; leave it out")
        self._asked = 0  # questions without a key, which draw anew each time

    @property
    def access(self) -> type[Scores]:
        return Scores

    @property
    def name(self) -> str:
        return " > ".join([*(part.name for part in self.parts), self.target.name])

    @property
    def device(self) -> torch.device:
        return self.target.device

    @property
    def inputs(self) -> Inputs:
        return self.target.inputs

    @property
    def stochastic(self) -> bool:
        return self.target.stochastic or any(part.stochastic for part in self.parts)

    @property
    def rejects(self) -> bool:
        return any(isinstance(part, Detector) for part in self.parts)

    def adapt_goal(self, goal: Goal) -> Goal:
        return Undetected(goal) if self.rejects and not isinstance(goal, Undetected) else goal

    def __call__(self, images: Tensor, key: Key | None = None) -> Any:
        with torch.no_grad():
            return fuse_votes([self.once(images, draw) for draw in self._draws(images, key)], self.fuse)

    def _draws(self, images: Tensor, key: Key | None) -> list[Key]:
        if key is None:
            key = Key(torch.arange(len(images), device=images.device), self._asked)
            self._asked += 1
        return [key.reseeded(vote) for vote in range(self.votes)] if self.votes > 1 else [key]

    def once(self, images: Tensor, key: Key) -> Any:
        """One pass: exact outputs, and the gradient that an attacker who knows the defence can have."""
        alarms = []
        for number, part in enumerate(self.parts):
            theirs = key.reseeded(number)
            if isinstance(part, Detector):
                alarms.append(part.alarm(images, theirs))
            else:
                images = apply_with_bpda(part, images, theirs)
        outputs = answered(self.target, images, key)
        return DetectorOutputs(outputs, torch.stack(alarms).amax(0)) if alarms else outputs

    def naive_view(self) -> Surrogate:
        """The view of an attacker who knows the model inside and nothing of what surrounds it."""
        return Surrogate(self, undefended(self.target))

    def adaptive_view(
        self,
        draws: int | None = None,
        *,
        goal: Goal | None = None,
        images: Tensor | None = None,
        weight: float = 1.0,
    ) -> AdaptiveView:
        """The view of an attacker who knows everything but the draws.

        Args:
            draws: passes per question; None: as many as the gradient's variance at `images` under `goal` asks for.
            weight: of the alarm in the joint loss, where a screen may reject.

        Raises:
            ConfigError: a stochastic defence with neither draws nor images to measure them on.
        """
        if draws is None:
            draws = 1
            if self.stochastic:
                if goal is None or images is None:
                    raise ConfigError(f"{self.name} is random: pass draws=, or goal= and images= to measure how many")
                view = AdaptiveView(self, 1, weight)
                draws = draws_for(view, view.adapt_goal(to(goal, self.device)), images.to(self.device))
        return AdaptiveView(self, draws, weight)

    def check(self, outputs: Any) -> None:
        """What can be told of fused outputs: of logits all, of logarithms of probabilities their number and kind."""
        logits = outputs.outputs if isinstance(outputs, DetectorOutputs) else outputs
        self.target.check(logits)
        if isinstance(outputs, DetectorOutputs) and not bool(outputs.alarm.isfinite().all()):
            raise TargetError(f"a detector of {self.name} gives no finite alarm for the first images; fit it again")

    def identity(self) -> tuple[object, ...]:
        parts = [word for part in self.parts for word in part.identity()]
        return ("defended", self.votes, self.fuse, *parts, *self.target.identity())

    @contextmanager
    def frozen(self) -> Iterator[None]:
        with ExitStack() as held:
            held.enter_context(self.target.frozen())
            for network in networks(self.parts):
                held.enter_context(still(network))
            yield


class AdaptiveView(Target[Jacobians]):
    """A defence as its adaptive attacker sees it: each question is an expectation over `draws` passes.

    Judged in the search on the same passes; confirmed by the defence in use, with its votes.
    """

    def __init__(self, defended: Defended, draws: int = 1, weight: float = 1.0) -> None:
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
    def device(self) -> torch.device:
        return self.defended.device

    @property
    def inputs(self) -> Inputs:
        return self.defended.inputs

    @property
    def stochastic(self) -> bool:
        return self.defended.stochastic

    @property
    def draws(self) -> int:
        return self._draws

    @property
    def confirming_target(self) -> Target[Any]:
        return self.defended

    def adapt_goal(self, goal: Goal) -> Goal:
        read = self.defended.adapt_goal(goal)
        return replace(read, weight=self.weight) if isinstance(read, Undetected) else read

    def __call__(self, images: Tensor, key: Key | None = None) -> Any:
        (first,) = self.defended._draws(images, key)[:1]
        return self.defended.once(images, first)

    def check(self, outputs: Any) -> None:
        self.defended.check(outputs)

    def identity(self) -> tuple[object, ...]:
        return ("audited", self._draws, self.weight, *self.defended.identity())

    @contextmanager
    def frozen(self) -> Iterator[None]:
        with self.defended.frozen():
            yield


def fuse_votes(answers: list[Any], how: str) -> Any:
    """Several answers as one."""
    if len(answers) == 1:
        return answers[0]
    if isinstance(answers[0], DetectorOutputs):
        alarm = torch.stack([one.alarm for one in answers]).mean(0)
        return DetectorOutputs(fuse_votes([one.outputs for one in answers], how), alarm)
    logits = torch.stack(answers)
    if how == "logits":
        return logits.mean(0)
    if how == "majority":
        cast = nn.functional.one_hot(logits.argmax(2), logits.shape[2]).to(logits.dtype).mean(0)
        return (cast + torch.finfo(logits.dtype).eps).log()
    return logits.log_softmax(2).logsumexp(0) - math.log(len(answers))


def undefended(target: Target[Any]) -> Target[Any]:
    """The model as somebody has it who does not know of its random layers: they are silent."""
    return target.disable_noise() if isinstance(target, Classifier) and target.stochastic else target


@contextmanager
def still(network: nn.Module) -> Iterator[None]:
    """A network in eval mode whose weights ask for no gradient; put back afterwards."""
    with Classifier(network).frozen():
        yield
