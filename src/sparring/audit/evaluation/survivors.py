"""Which images of a chunk still stand at a radius, and the worst example of each that does not."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .clean_chunk import Clean
from .confirmation import Attempt

DONE = 0.95  # an example that wins this share of the answers is as good as any: the image is attacked no more


class Pool:
    """Examples of one threat on a chunk, kept once for all radii and views."""

    def __init__(self) -> None:
        self.parts: list[Tensor] = []
        self.count = 0

    def add(self, images: Tensor) -> Tensor:
        """The places of the images in the pool."""
        self.parts.append(images)
        self.count += len(images)
        return torch.arange(self.count - len(images), self.count)

    def take(self, places: Tensor) -> Tensor:
        """The images at these places."""
        return torch.cat(self.parts)[places] if len(places) else places.new_zeros(0, 1, 1, 1).float()


@dataclass(frozen=True)
class Standing:
    """One row per image of the chunk."""

    claimed: Tensor  # (N,) of the worst example within the radius, or of the image itself
    place: Tensor  # (N,) of that example in the pool; -1: there is none
    lasting: Tensor  # (N,) bool: needs no example that survives rounding, or has one

    @classmethod
    def begin(cls, clean: Clean) -> Standing:
        """Before any attack."""
        return cls(clean.claimed.clone(), torch.full((len(clean),), -1), ~clean.correct)

    def rows(self, clean: Clean) -> Tensor:
        """The places in the chunk of the images that are still to be attacked."""
        return (clean.correct & (self.claimed < DONE)).nonzero().squeeze(1)

    def after(self, attempt: Attempt, pool: Pool) -> Standing:
        """With what an attempt has brought."""
        claimed, place, lasting = self.claimed.clone(), self.place.clone(), self.lasting.clone()
        rows = attempt.rows[attempt.kept]
        theirs, places = attempt.claimed[attempt.kept], pool.add(attempt.examples.images)
        better = theirs > claimed[rows]
        claimed[rows[better]], place[rows[better]] = theirs[better], places[better]
        lasting[rows] |= attempt.examples.survives_uint8
        return Standing(claimed, place, lasting)

    def joined(self, other: Standing) -> Standing:
        """With what is known from another view, or from a smaller radius."""
        better = other.claimed > self.claimed
        return Standing(
            torch.where(better, other.claimed, self.claimed),
            torch.where(better, other.place, self.place),
            self.lasting | other.lasting,
        )

    def short(self) -> Tensor:
        """The places in the chunk of the images that fell by an example that rounding undoes."""
        return ((self.claimed > 0.5) & (self.place >= 0) & ~self.lasting).nonzero().squeeze(1)

    def lengthened(self, rows: Tensor) -> Standing:
        """With rows whose stretched example survives rounding."""
        lasting = self.lasting.clone()
        lasting[rows] = True
        return replace(self, lasting=lasting)
