"""Coefficients of linear functions of a convolution's result or operand that are 0 outside a small window.

A component of a convolution's result depends on few components before it. Linear functions that go back from single
components are so small that keeping their windows only saves nearly all of the work and of the memory.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

LARGEST = 0.5  # share of the plane from which on a window is no longer worth it


@dataclass(frozen=True)
class Windows:
    """Linear functions of a node of shape (C, *plane), S for each of B rows.

    Args:
        values: (B or 1, S, C, *size) the coefficients in the window; 0 outside the plane.
        starts: (B or 1, S, axes) int64, where each window begins in the plane; it may begin and end beyond it.
        plane: the lengths of the node's axes after the first.
    """

    values: Tensor
    starts: Tensor
    plane: tuple[int, ...]

    @classmethod
    def at(cls, places: Tensor, like: Tensor, shape: Sequence[int]) -> Windows:
        """Return the functions that are single components (B or 1, S) of a node of this flattened shape (C, *plane)."""
        plane = tuple(shape[1:])
        channels = places.div(math.prod(plane), rounding_mode="floor")
        values = like.new_zeros(*places.shape, shape[0]).scatter_(2, channels[..., None], 1.0)
        rest, starts = places.remainder(math.prod(plane)), []
        for length in reversed(plane):
            starts.append(rest.remainder(length))
            rest = rest.div(length, rounding_mode="floor")
        return cls(values.view(*values.shape, *[1] * len(plane)), torch.stack(starts[::-1], -1), plane)

    @property
    def shape(self) -> torch.Size:
        """That of the dense coefficients (B or 1, S, C, *plane)."""
        return torch.Size((*self.values.shape[:3], *self.plane))

    @property
    def size(self) -> tuple[int, ...]:
        """The lengths of the window."""
        return tuple(self.values.shape[3:])

    @property
    def is_large(self) -> bool:
        """Is the window so large that dense coefficients are as good?"""
        return math.prod(self.size) > LARGEST * math.prod(self.plane)

    def __neg__(self) -> Windows:
        return replace(self, values=-self.values)

    def scaled(self, factors: Tensor) -> Windows:
        """Return the coefficients times others (B or 1, S or 1, C or 1, *size)."""
        return replace(self, values=self.values * factors)

    def expand(self, rows: int) -> Windows:
        """Return the functions with as many rows."""
        values, starts = (one.expand(rows, *one.shape[1:]) for one in (self.values, self.starts))
        return replace(self, values=values, starts=starts)

    def places(self) -> tuple[Tensor, Tensor]:
        """Return where the window's components lie in the flattened plane (B, S, prod size), and whether they do."""
        place = torch.zeros_like(self.starts[..., :1])
        inside = torch.ones_like(place, dtype=torch.bool)
        for axis, (size, length) in enumerate(zip(self.size, self.plane, strict=True)):
            at = self.starts[..., axis, None] + torch.arange(size, device=place.device)
            inside = (inside[..., None] & ((at >= 0) & (at < length))[..., None, :]).flatten(2)
            place = (place[..., None] * length + at.clamp(0, length - 1)[..., None, :]).flatten(2)
        return place, inside

    def gather(self, dense: Tensor) -> Tensor:
        """Return what of values (B or 1, S or 1, C, *plane) lies in the windows: (B, S, C, *size)."""
        if dense.numel() == 1:
            return dense.view(1, 1, 1, *[1] * len(self.plane))
        place, _ = self.places()
        rows = max(len(place), len(dense))
        flat = dense.flatten(3)
        place = place[:, :, None].expand(rows, -1, flat.shape[2], -1)
        found = flat.expand(rows, place.shape[1], -1, -1).gather(3, place)
        return found.view(*found.shape[:3], *self.size)

    def dense(self) -> Tensor:
        """Return all coefficients (B or 1, S, C, *plane)."""
        place, _ = self.places()
        flat = self.values.flatten(3)
        place = place[:, :, None].expand(len(flat), -1, flat.shape[2], -1)
        whole = flat.new_zeros(*flat.shape[:3], math.prod(self.plane)).scatter_add(3, place, flat)
        return whole.view(self.shape)

    def plus(self, other: Windows) -> Windows | Tensor:
        """Return the sum; windows that lie differently for each function are made dense."""
        shift = (other.starts - self.starts).flatten(0, 1)
        if bool((shift != shift[0]).any()):
            return self.dense() + other.dense()
        moved: list[int] = shift[0].tolist()
        before = [min(0, by) for by in moved]
        after = [max(a, by + b) for a, b, by in zip(self.size, other.size, moved, strict=True)]
        mine = [(-b, a - size) for b, a, size in zip(before, after, self.size, strict=True)]
        theirs = [(by - b, a - by - size) for b, a, by, size in zip(before, after, moved, other.size, strict=True)]
        values = _padded(self.values, mine) + _padded(other.values, theirs)
        return replace(self, values=values, starts=self.starts + self.starts.new_tensor(before))

    def through_convolution(
        self,
        weight: Tensor,
        stride: Sequence[int],
        padding: Sequence[int],
        dilation: Sequence[int],
        groups: int,
        plane: Sequence[int],
    ) -> Windows:
        """Return the functions of the operand, whose plane is given, of a convolution padded with zeros."""
        back = torch.ops.aten.convolution(
            self.values.flatten(0, 1), weight, None, stride, [0] * len(plane), dilation, True, [0] * len(plane), groups
        )
        starts = self.starts * self.starts.new_tensor(list(stride)) - self.starts.new_tensor(list(padding))
        found = Windows(back.unflatten(0, self.values.shape[:2]), starts, tuple(plane))
        _, inside = found.places()
        return found.scaled(inside.view(*inside.shape[:2], 1, *found.size))


def _padded(values: Tensor, ends: list[tuple[int, int]]) -> Tensor:
    return F.pad(values, list(itertools.chain(*reversed(ends)))) if any(map(any, ends)) else values
