"""Defences of models of point clouds: two transforms of the cloud, and a check of what is detected.

All of them are put around a target, `targets.Defended(target, OutlierRemoval())` or `FreeSpaceCheck(detector)`, and are
to be attacked with gradients through them: the transforms pass on gradients to what they keep or remove.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from ..access import Decisions
from ..errors import ConfigError, TargetError
from ..random import Key
from ..shapes import FloatBatch
from ..targets import Target, WrappedTarget, answered
from ..targets.wrapped_outputs import change_outputs
from ..tasks import Detection, Detections
from ..transforms import Transform, straight_through
from .scene import LidarScene, point_weights, presence

T = TypeVar("T", bound=Decisions)
PAIRS = 1 << 22  # of points, whose distances are looked at together
LOWEST, FOOT = 0.13, 0.4  # metres above the ground: points in a box, and rays that it should have stopped
SOFTNESS = 0.3  # metres: of an edge of a box, in gradients


@dataclass(frozen=True)
class OutlierRemoval(Transform):
    """Remove points that lie far from their neighbours (statistical outlier removal, Rusu et al. 2008).

    A point is removed where the mean distance to its k nearest neighbours is more than `deviations` standard
    deviations above the mean of that over all points that are present. What is removed has the gradient of a
    sigmoid of that difference (BPDA).

    Args:
        k: neighbours (2 in DUP-Net, Zhou et al. 2019, arXiv:1812.11017).
        deviations: 1.1 there.
    """

    k: int = 2
    deviations: float = 1.1

    def __post_init__(self) -> None:
        if isinstance(self.k, bool) or not isinstance(self.k, int) or not 1 <= self.k <= 1000:
            raise ConfigError(f"OutlierRemoval k={self.k!r}; pass a number of neighbours, 1 to 1000")
        if not isinstance(self.deviations, int | float) or not math.isfinite(self.deviations):
            raise ConfigError(f"OutlierRemoval deviations={self.deviations!r}; pass a finite number")

    def apply(self, x: Tensor, key: Key, context: Any) -> tuple[Tensor, Any]:
        there, weights = presence(x, context), point_weights(x, context)
        gap = self.neighbour_distance(x, there)
        count = there.sum(1, keepdim=True).clamp_min(1)
        mean = (gap * there).sum(1, keepdim=True) / count
        spread = ((gap - mean).square() * there).sum(1, keepdim=True).div(count).clamp_min(1e-12).sqrt()
        excess = (gap - mean) / spread - self.deviations
        kept = there & (excess <= 0)
        told = weights * straight_through(kept.to(x.dtype), torch.where(there, (-4 * excess).sigmoid(), 0))
        return x, with_weights(context, kept, told)

    def neighbour_distance(self, x: Tensor, present: Tensor) -> Tensor:
        """Return the mean distance (B, N) of each point of x (B, N, 3) to its k nearest that are present."""
        k = min(self.k, x.shape[1] - 1)
        if k < 1:
            return torch.zeros_like(x[..., 0])
        places, usable = _nearest(x.detach(), present, k)
        theirs = x[torch.arange(len(x), device=x.device)[:, None, None], places]
        squares = torch.where(usable, (x[:, :, None] - theirs).square().sum(3), 0)
        return (squares.clamp_min(1e-12).sqrt() * usable).sum(2) / usable.sum(2).clamp_min(1)


def _nearest(x: Tensor, present: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the k nearest present points (B, N, k) int64 to each point, itself apart, and which there are, bool."""
    count, places, usable = x.shape[1], [], []
    block = max(1, PAIRS // max(1, len(x) * count))
    for start in range(0, count, block):
        gaps = torch.cdist(x[:, start : start + block], x, compute_mode="donot_use_mm_for_euclid_dist")
        own = torch.arange(start, min(start + block, count), device=x.device)[:, None]
        apart = present[:, None] & (own != torch.arange(count, device=x.device))
        nearest = gaps.masked_fill(~apart, torch.inf).topk(k, dim=2, largest=False)
        places.append(nearest.indices)
        usable.append(nearest.values.isfinite())
    return torch.cat(places, dim=1), torch.cat(usable, dim=1)


@dataclass(frozen=True)
class RandomSampling(Transform):
    """Keep each point with a probability, drawn anew for each query (simple random sampling).

    Args:
        keep: the probability, in (0, 1).
    """

    keep: float = 0.5

    def __post_init__(self) -> None:
        if not isinstance(self.keep, int | float) or not 0 < self.keep < 1:
            raise ConfigError(f"RandomSampling keep={self.keep!r}; pass a probability in (0, 1)")

    @property
    def stochastic(self) -> bool:
        return True

    def apply(self, x: Tensor, key: Key, context: Any) -> tuple[Tensor, Any]:
        drawn = key.uniform("keep", x.shape[1:2], dtype=x.dtype) < self.keep
        kept = drawn & presence(x, context)
        return torch.where(kept[:, :, None], x, 0), with_weights(context, kept, point_weights(x, context) * kept)


def with_weights(context: Any, present: Tensor, weights: Tensor) -> Any:
    """Return the context with these points and weights; a `LidarScene` where there was none."""
    return replace(LidarScene() if context is None else context, present=present, weights=weights)


class FreeSpaceCheck(WrappedTarget[T]):
    """A detector of bird's-eye-view boxes whose finds must stand in the way of the light (after Sun et al. 2020).

    Rays that pass through a box end behind it, where a real object would have stopped them. CARLO (arXiv:2006.16974)
    counts that: an object is dismissed where more than `limit` of the rays within its angle end behind it. Here the
    logits of an anchor become at most `gain` * (limit - share behind), so that it finds an object if the detector and
    the check both do. The gradient is that of logit + log sigmoid(that bound): an attacker climbs both at once, where
    the smaller of the two would tell of one alone.

    Args:
        target: a detector of clouds, whose boxes are x1, y1, x2, y2 in metres around a scanner at the origin.
        limit: the largest share of rays, in (0, 1); `calibrate` finds one.
        gain: logits per share.
        ground: height of the ground in metres, from the scanner.
        checked: the surest anchors of each cloud that are looked at; the others find nothing.

    Raises: TargetError for a target that is no detector, ConfigError.
    """

    def __init__(
        self, target: Target[T], limit: float = 0.7, gain: float = 20.0, ground: float = -1.73, checked: int = 32
    ) -> None:
        if not isinstance(target, Target) or not isinstance(target.task, Detection):
            raise TargetError(f"a free-space check is of a detector; {getattr(target, 'name', target)!s:.80} is none")
        super().__init__(target)
        if not (isinstance(limit, int | float) and 0 < limit < 1 and isinstance(gain, int | float) and gain > 0):
            raise ConfigError(f"limit={limit!r}, gain={gain!r}; pass a share in (0, 1) and a gain above 0")
        if not isinstance(ground, int | float) or not math.isfinite(ground):
            raise ConfigError(f"ground={ground!r}; pass a height in metres from the scanner, as -1.73")
        if isinstance(checked, bool) or not isinstance(checked, int) or checked < 1:
            raise ConfigError(f"checked={checked!r} anchors; pass an int >= 1")
        self.limit, self.gain, self.ground, self.checked = float(limit), float(gain), float(ground), checked

    @property
    def name(self) -> str:
        return f"{self.target.name}, free space checked"

    def __call__(self, images: FloatBatch, key: Key | None = None, context: Any = None) -> Any:
        answer = answered(self.target, images, key, context)
        return change_outputs(answer, lambda outputs: self._checked(outputs, images, context))

    def identity(self) -> tuple[object, ...]:
        return ("free space", self.limit, self.gain, self.ground, self.checked, *self.target.identity())

    def _checked(self, outputs: Detections, points: Tensor, context: Any) -> Detections:
        score = outputs.logits.amax(2).masked_fill(~outputs.present, -torch.inf)
        places = score.topk(min(self.checked, score.shape[1]), dim=1).indices
        boxes = outputs.boxes.gather(1, places[:, :, None].expand(-1, -1, 4))
        behind, _ = free_space(points, presence(points, context), boxes, self.ground)
        most = torch.full_like(score, -self.gain).scatter(1, places, self.gain * (self.limit - behind))
        most = most[:, :, None]
        joint = outputs.logits + torch.nn.functional.logsigmoid(most)
        return replace(outputs, logits=straight_through(torch.minimum(outputs.logits, most.expand_as(joint)), joint))


def free_space(points: Tensor, present: Tensor, boxes: Tensor, ground: float = -1.73) -> tuple[Tensor, Tensor]:
    """Return of each box (B, K, 4) the share of rays at its angle that end behind it, and how many end in it, (B, K).

    Rays count that reach the box or pass it (x1 to x2 and y1 to y2 in metres) within the angle of its middle half, from
    0.4 m above the ground up to the highest of the points in the box: an object stands on the ground, and light passes
    neither through it nor beneath it. A box without points has the share 1. Exact on the forward pass; on the backward
    pass a point leaves a box by a sigmoid.
    """
    middle, half = (boxes[..., :2] + boxes[..., 2:]) / 2, (boxes[..., 2:] - boxes[..., :2]) / 2
    gaps = half[:, :, None] - (points[:, None, :, :2] - middle[:, :, None]).abs()  # (B, K, N, 2)
    inside = (gaps > 0).all(3) & present[:, None] & (points[..., 2] > ground + LOWEST)[:, None]
    far = middle.norm(dim=2).clamp_min(1e-6)
    towards = middle / far[:, :, None]
    along = torch.einsum("bnc,bkc->bkn", points[..., :2], towards)
    across = torch.einsum("bnc,bkc->bkn", points[..., :2], torch.stack((-towards[..., 1], towards[..., 0]), dim=2))
    flat = points[..., :2].norm(dim=2)[:, None].clamp_min(1e-6)
    width = (half[..., 0] * towards[..., 1].abs() + half[..., 1] * towards[..., 0].abs())[:, :, None] / 2
    within = (across.abs() / flat * far[:, :, None] < width) & (along > 0)
    depth = (half[..., 0] * towards[..., 0].abs() + half[..., 1] * towards[..., 1].abs())[:, :, None]
    past = within & present[:, None] & (along > far[:, :, None] + depth)
    slope = (points[..., 2] / points[..., :2].norm(dim=2).clamp_min(1e-6))[:, None]
    high = slope.masked_fill(~inside, -torch.inf).amax(2, keepdim=True)
    past = past & (slope <= high) & (slope >= ((ground + FOOT) / far)[:, :, None])
    soft = (gaps / SOFTNESS).sigmoid().prod(3) * present[:, None]
    stops = straight_through(inside.to(points.dtype), soft).sum(2)
    passes = past.to(points.dtype).sum(2)
    share = torch.where(inside.any(2), passes / (passes + stops).clamp_min(1), 1)
    return share, stops


def calibrate_free_space(points: Tensor, present: Tensor, boxes: Tensor, quantile: float = 0.99) -> float:
    """Return the limit that so many of the true objects (M clouds, one box (M, 4) each) stay below.

    Raises: ConfigError for a quantile outside (0, 1).
    """
    if not isinstance(quantile, int | float) or not 0 < quantile < 1:
        raise ConfigError(f"quantile={quantile!r}; pass a number in (0, 1)")
    parts = (torch.split(one, 16) for one in (points, present, boxes[:, None]))
    shares = torch.cat([free_space(*part)[0][:, 0] for part in zip(*parts, strict=True)])
    return float(shares.quantile(quantile).clamp(0.02, 0.98))
