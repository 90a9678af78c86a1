"""The protocol `Head`: what a network answers, read as `Detections`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...errors import TargetError
from ...tasks import Detections


class Head(nn.Module):
    """The reading of what a network answers: raw outputs -> boxes and logits of all anchors, with their gradients.

    A head has no weights; constants such as anchors are buffers. `objectness` says whether it tells objects from
    background apart from their classes, and with that what an attack may climb (`tasks.Detection.objectives`);
    `suppression` are the settings of `tasks.Detection` that belong to this kind of head.
    """

    name: ClassVar[str]
    objectness: ClassVar[bool] = False
    suppression: ClassVar[Mapping[str, Any]] = {}

    @abstractmethod
    def forward(self, raw: Any, size: tuple[int, int]) -> Detections:
        """Return the detections in what a network answered about B inputs of `size` (rows, columns).

        Boxes are in pixels of that input.

        Raises: TargetError for what is no answer of this kind.
        """

    def loosened(self, network: nn.Module) -> list[tuple[Any, str, Any]]:
        """Return what is set otherwise while the network is asked, (object, attribute, value); by default nothing."""
        return []

    def wrong(self, raw: Any, wanted: str) -> TargetError:
        """Return the error that `raw` is not what the head reads."""
        return TargetError(f"a {self.name} head reads {wanted}; the network answered {described(raw)}")


def all_present(boxes: Tensor) -> Tensor:
    """Return (B, N) bool, all True, for boxes (B, N, 4)."""
    return torch.ones(boxes.shape[:2], dtype=torch.bool, device=boxes.device)


def grid_points(rows: int, columns: int, stride: float, like: Tensor, offset: float = 0.5) -> Tensor:
    """Return the points (rows * columns, 2) x, y of a grid, row by row: (place + offset) * stride."""
    y, x = (torch.arange(count, dtype=like.dtype, device=like.device) for count in (rows, columns))
    down, across = torch.meshgrid(y, x, indexing="ij")
    return (torch.stack((across, down), dim=2).flatten(0, 1) + offset) * stride


def log_odds(logits: Tensor) -> Tensor:
    """Return log p / (1 - p) of the softmax p over the last axis of logits (..., K): z_k - log sum_{j != k} exp z_j.

    The sum without the largest is computed apart, since 1 - p of a class that is nearly certain is 0 in floating point.
    """
    total = logits.logsumexp(-1, keepdim=True)
    surest = logits.argmax(-1, keepdim=True)
    is_surest = torch.zeros_like(logits, dtype=torch.bool).scatter(
        -1, surest, torch.ones_like(surest, dtype=torch.bool)
    )
    rest = logits.masked_fill(is_surest, -torch.inf).logsumexp(-1, keepdim=True)
    log_p = (logits - total).masked_fill(is_surest, -1.0)
    others = total + torch.log1p(-log_p.exp())  # of a class that is not the surest, 1 - p is at least one half
    return logits - torch.where(is_surest, rest, others)


def log_odds_of_product(first: Tensor, second: Tensor) -> Tensor:
    """Return the logit of sigmoid(first) * sigmoid(second).

    With a = -first and b = -second, 1/p - 1 = e^a + e^b + e^(a + b).
    """
    both = -first - second
    return -torch.logsumexp(torch.stack((-first.expand_as(both), -second.expand_as(both), both)), dim=0)


def log_odds_of_root(logit: Tensor) -> Tensor:
    """Return the logit of sqrt(p), from the logit of p."""
    half = F.logsigmoid(logit) / 2
    return half - torch.log(-torch.expm1(half.clamp_max(-torch.finfo(half.dtype).tiny)))


def tensors_in(raw: Any) -> Iterator[Tensor]:
    """Yield the tensors in nested lists, tuples and dictionaries, and in the attributes of other records."""
    if isinstance(raw, Tensor):
        yield raw
    elif isinstance(raw, Mapping):
        for value in raw.values():
            yield from tensors_in(value)
    elif isinstance(raw, list | tuple):
        for value in raw:
            yield from tensors_in(value)
    elif hasattr(raw, "__dict__"):
        for value in vars(raw).values():
            if isinstance(value, Tensor | list | tuple | dict):
                yield from tensors_in(value)


def described(raw: Any) -> str:
    """Return shapes and kinds of an answer, in a line."""
    if isinstance(raw, Tensor):
        return f"a tensor {tuple(raw.shape)}"
    if isinstance(raw, Mapping):
        return "a dict of " + ", ".join(str(key) for key in raw)[:120]
    if isinstance(raw, list | tuple):
        return f"a {type(raw).__name__} of {len(raw)}: " + "; ".join(described(one) for one in raw[:3])[:160]
    return f"a {type(raw).__name__}"
