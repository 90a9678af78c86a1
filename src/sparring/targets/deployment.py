"""What stands between a model and whoever asks it over a wire: what is let out, how often, and how images arrive."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

from ..access import Decisions, Scores
from ..errors import ConfigError, LockedOut, TargetError
from ..random import Key
from ..shapes import FloatBatch
from ..tasks import Classification
from .encoding import Codec
from .target import Restricted, Target, answered
from .wrapped_outputs import change_outputs

T = TypeVar("T", bound=Decisions)


class TruncatedScores(Restricted[Scores]):
    """Probabilities as a service publishes them: of the leading classes only, or to so many decimals.

    Args:
        target: gives logits.
        top: how many classes are named; the rest of the probability is read as spread evenly over the others.
        decimals: of each probability (2: percent). What shows as zero is read as half of the last place.

    Outputs are the logarithms of what is published. Two classes that show the same number are a draw, and a draw is
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
        """As the model checks what it has just said, before any of it was held back."""
        self.target.check(self._held_back)

    def identity(self) -> tuple[object, ...]:
        return ("published", self.top, self.decimals, *super().identity())


class RateLimited(Restricted[T]):
    """A target that answers so many images a second; whoever asks faster waits.

    Args:
        target: what answers.
        per_second: images.
        clock, sleep: seconds now, and waiting for some.
    """

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


class LockOut(Restricted[T]):
    """A target that answers `limit` images in all, and then nobody any more (`LockedOut`).

    A question that asks for more than are left is not answered, and not counted. A run ends there with what it has
    found.
    """

    def __init__(self, target: Target[T], limit: int) -> None:
        super().__init__(target, target.access)
        if limit < 1:
            raise ConfigError(f"limit={limit}; pass a number of images >= 1")
        self.limit, self.answered, self.locked = limit, 0, False

    def __call__(self, images: FloatBatch, key: Key | None = None, context: Any = None) -> Any:
        if self.locked or self.answered + len(images) > self.limit:
            self.locked = True
            raise LockedOut(f"{self.name} locked the attacker out after {self.answered} of {self.limit} images")
        self.answered += len(images)
        return super().__call__(images, key, context)


class InputCodec(Restricted[Scores]):
    """A target that sees images only after they went through `codecs`, in their order: a file, a thumbnail.

    What wins is what wins after the encoding. No gradient passes a codec.
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
