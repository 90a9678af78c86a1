"""`LidarScene`: what lies beside the input of a model of point clouds, or of a transform that makes clouds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from ..transforms import Scene


@dataclass(frozen=True)
class LidarScene(Scene):
    """The context of point clouds (B, N, 3), beside what every `Scene` may have (`present`, `boxes`).

    Args:
        points: (B, N, 3), the cloud that a variable changes or adds to; `present` says which of them are there.
        ranges: (B, R), how far each ray of the scanner goes where the variable puts nothing in its way; inf: on and on.
        poses: (B, 3) as x, y in metres and the yaw in radians, of an object that is put into the scene.
        weights: (B, N), how much of each point there is: `present` as numbers, with a gradient where a transform has
            one to give. Models take them in the place of `present`.
    """

    points: Tensor | None = None
    ranges: Tensor | None = None
    poses: Tensor | None = None
    weights: Tensor | None = None

    def check(self) -> None:
        """Raise InputError where clouds, ranges or poses are none."""
        super().check()
        for name, axes, last in (("points", 3, 3), ("ranges", 2, None), ("poses", 2, 3), ("weights", 2, None)):
            value = getattr(self, name)
            if value is None:
                continue
            fits = isinstance(value, Tensor) and value.ndim == axes and value.is_floating_point()
            if not fits or (last is not None and value.shape[-1] != last):
                wanted = {"points": "(N, points, 3)", "ranges": "(N, rays)", "poses": "(N, 3)"}.get(name, "(N, points)")
                got = f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
                raise InputError(f"context {name} are real numbers {wanted}; got {got}")
            if bool(value.isnan().any()) or (name != "ranges" and not bool(value.isfinite().all())):
                row = int((~value.flatten(1).isfinite().all(1)).nonzero()[0])
                raise InputError(f"context {name}[{row}] hold NaN or infinity; leave that input out")
        if self.points is not None and self.present is not None and self.present.shape != self.points.shape[:2]:
            points, told = tuple(self.points.shape[:2]), tuple(self.present.shape)
            raise InputError(f"context present tells of each point, {points}; got {told}")


def scene_points(context: Any, transform: str) -> Tensor:
    """Return the points (B, N, 3) of the context; InputError where there are none."""
    points: Tensor | None = getattr(context, "points", None)
    if not isinstance(points, Tensor) or points.ndim != 3 or points.shape[2] != 3:
        raise InputError(f"{transform} acts on a cloud; pass it as context=LidarScene(points=points)")
    return points


def presence(x: Tensor, context: Any) -> Tensor:
    """Return (B, N) bool: which points of x (B, N, 3) are there; all where the context does not say."""
    present: Tensor | None = getattr(context, "present", None)
    if present is None:
        return torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
    if present.shape != x.shape[:2]:
        raise InputError(f"context present is {tuple(present.shape)}, and the clouds are {tuple(x.shape)}")
    return present


def point_weights(x: Tensor, context: Any) -> Tensor:
    """Return (B, N), how much of each point of x (B, N, 3) there is."""
    weights: Tensor | None = getattr(context, "weights", None)
    if weights is None:
        return presence(x, context).to(x.dtype)
    if weights.shape != x.shape[:2]:
        raise InputError(f"context weights are {tuple(weights.shape)}, and the clouds are {tuple(x.shape)}")
    return weights.to(x.dtype)
