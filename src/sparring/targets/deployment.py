"""Wrappers that restrict a target as a service would: top-k, rounding, rate limits, lock-out, encodings."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from ..access import Decisions, Scores
from ..error_rates import ScoreMap
from ..errors import ConfigError, GoalError, LockedOut, TargetError
from ..goals import Goal, IdentificationGoal, PublishedScore, VerificationGoal
from ..random import Key
from ..shapes import FloatBatch
from ..tasks import Classification, Verification
from .encoding import Codec
from .target import Restricted, Target, answered
from .wrapped_outputs import change_outputs

T = TypeVar("T", bound=Decisions)


class TruncatedScores(Restricted[Scores]):
    """Probabilities as a service publishes them: of the top classes only, or rounded.

    Args:
        target: gives logits.
        top: how many classes are published; the remaining probability is spread evenly over the others.
        decimals: of each probability (2: percent). A published zero is read as half of the last decimal.

    Outputs are the logarithms of the published probabilities. Two classes with the same number are a tie, and a tie is
    no success.
    """

    def __init__(self, target: Target[Scores], *, top: int | None = None, decimals: int | None = None) -> None:
        super().__init__(target, Scores)
        if target.task is not None and not isinstance(target.task, Classification):
            raise TargetError(f"probabilities of classes are published, and {target.name} is of {target.task.name}")
        if (top is not None and top < 1) or (decimals is not None and not 1 <= decimals <= 7):
            raise ConfigError(f"top={top}, decimals={decimals}; pass top >= 1 and decimals from 1 to 7")
        self.top, self.decimals = top, decimals

    def __call__(self, images: FloatBatch, key: Key | None = None, context: Any = None) -> Any:
        with torch.no_grad():
            self._held_back = answered(self.target, images, key, context)
            return change_outputs(self._held_back, self._published)

    def _published(self, logits: Tensor) -> Tensor:
        shown = logits.softmax(1)
        least = torch.finfo(shown.dtype).tiny
        if self.decimals is not None:
            shown, least = shown.round(decimals=self.decimals), 10.0**-self.decimals / 2
        count = shown.shape[1]
        if self.top is not None and self.top < count:
            named, classes = shown.topk(self.top, dim=1)
            rest = (1 - named.sum(1, keepdim=True)).clamp_min(0) / (count - self.top)
            shown = torch.minimum(rest, named[:, -1:]).expand_as(shown).scatter(1, classes, named)
        logs: Tensor = shown.clamp_min(least).log()
        return logs

    def check(self, outputs: Any) -> None:
        """Check the model's outputs as they were before truncation."""
        self.target.check(self._held_back)

    def identity(self) -> tuple[object, ...]:
        return ("published", self.top, self.decimals, *super().identity())


class PublishedScores(Restricted[Scores]):
    """A verifier that publishes a similarity as a score from 0 to 100, rounded, and decides by that.

    Args:
        target: gives embeddings.
        scores: the map of similarities to scores.
        decimals: of the score; 0: whole numbers.

    Outputs are the embeddings still, and the goal is judged by the scores (`goals.PublishedScore`), so that this is all
    an attack is told.
    """

    def __init__(self, target: Target[Scores], scores: ScoreMap, *, decimals: int = 0) -> None:
        super().__init__(target, Scores)
        if target.task is not None and not isinstance(target.task, Verification):
            raise TargetError(f"similarities are published as scores, and {target.name} is of {target.task.name}")
        if isinstance(decimals, bool) or not isinstance(decimals, int) or not 0 <= decimals <= 7:
            raise ConfigError(f"decimals={decimals!r:.80}; pass an int from 0 to 7")
        self.scores, self.decimals = scores, decimals

    def adapt_goal(self, goal: Goal) -> Goal:
        goal = super().adapt_goal(goal)
        if not isinstance(goal, VerificationGoal) or isinstance(goal, IdentificationGoal):
            raise GoalError(f"{type(goal).__name__} has no score of a similarity; pass Dodge or Impersonate")
        return PublishedScore(goal, self.scores, self.decimals)

    def identity(self) -> tuple[object, ...]:
        return ("published scores", self.scores, self.decimals, *super().identity())


class RateLimited(Restricted[T]):
    """A target that answers a limited number of images per second; faster callers wait.

    Args:
        target: what answers.
        per_second: images.
        clock, sleep: functions that return the time and that wait, both in seconds.
    """

    @property
    def metered(self) -> bool:
        return True

    def __init__(
        self,
        target: Target[T],
        per_second: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(target, target.access)
        if not per_second > 0:
            raise ConfigError(f"per_second={per_second}; pass a number of images above 0")
        self.per_second, self.clock, self.sleep = per_second, clock, sleep
        self._free = -float("inf")  # when the next image may be asked

    def __call__(self, images: FloatBatch, key: Key | None = None, context: Any = None) -> Any:
        wait = self._free - self.clock()
        if wait > 0:
            self.sleep(wait)
        self._free = max(self._free, self.clock()) + len(images) / self.per_second
        return super().__call__(images, key, context)


@dataclass
class Account:
    """The images that a service answered to one attacker, and whether it answers no more."""

    answered: int = 0
    locked: bool = False


class LockOut(Restricted[T]):
    """A target that answers `limit` images in all, and then raises `LockedOut`.

    A query of more images than are left is neither answered nor counted. A run then ends with the examples found.

    Args:
        target: what answers.
        limit: images, >= 1.
        account: of an attacker who sees the same service in several views; None: one of its own.
    """

    @property
    def metered(self) -> bool:
        return True

    def __init__(self, target: Target[T], limit: int, account: Account | None = None) -> None:
        super().__init__(target, target.access)
        if limit < 1:
            raise ConfigError(f"limit={limit}; pass a number of images >= 1")
        self.limit, self.account = limit, Account() if account is None else account

    @property
    def answered(self) -> int:
        """The images that were answered, in all views of the account."""
        return self.account.answered

    def __call__(self, images: FloatBatch, key: Key | None = None, context: Any = None) -> Any:
        account = self.account
        if account.locked or account.answered + len(images) > self.limit:
            account.locked = True
            raise LockedOut(f"{self.name} locked the attacker out after {account.answered} of {self.limit} images")
        account.answered += len(images)
        return super().__call__(images, key, context)


class InputCodec(Restricted[Scores]):
    """A target that sees images only after they went through `codecs`, in their order: a file, a thumbnail.

    Success is decided after the encoding. Codecs have no gradient.
    """

    def __init__(self, target: Target[Decisions], *codecs: Codec) -> None:
        super().__init__(target, Scores if issubclass(target.access, Scores) else target.access)  # type: ignore[arg-type]
        self.codecs = codecs

    def __call__(self, images: FloatBatch, key: Key | None = None, context: Any = None) -> Any:
        with torch.no_grad():
            for codec in self.codecs:
                images = codec(images)
            return super().__call__(images, key, context)

    def identity(self) -> tuple[object, ...]:
        return ("reencoded", *map(repr, self.codecs), *super().identity())
