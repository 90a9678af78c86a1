"""The images of a chunk that are not broken at a radius, and the worst example of each that is."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .clean_chunk import CleanChunk
from .confirmation import AttackResult

DONE = 0.95  # an example that wins this share of the answers is as good as any: the image is attacked no more


class ExampleStore:
    """Examples of one threat on a chunk, kept once for all radii and views."""

    def __init__(self) -> None:
        self.parts: list[Tensor] = []
        self.count = 0

    def add(self, images: Tensor) -> Tensor:
        """Add images (F, C, H, W), and return their positions (F,) in the store."""
        self.parts.append(images)
        self.count += len(images)
        return torch.arange(self.count - len(images), self.count)

    def take(self, places: Tensor) -> Tensor:
        """Return the images at these positions."""
        return torch.cat(self.parts)[places] if len(places) else places.new_zeros(0, 1, 1, 1).float()


@dataclass(frozen=True)
class Survivors:
    """The state of each of the N images of a chunk at one radius: broken or not, and its worst example."""

    claimed: Tensor  # (N,) of the worst example within the radius, or of the image itself
    position: Tensor  # (N,) of that example in the store; -1: there is none
    survives_rounding: Tensor  # (N,) bool: needs no example that survives rounding, or has one

    @classmethod
    def begin(cls, clean: CleanChunk) -> Survivors:
        """Return the state before any attack."""
        return cls(clean.claimed.clone(), torch.full((len(clean),), -1), ~clean.correct)

    def remaining(self, clean: CleanChunk) -> Tensor:
        """Return the positions in the chunk of the images that are still to be attacked."""
        return (clean.correct & (self.claimed < DONE)).nonzero().squeeze(1)

    def after(self, result: AttackResult, store: ExampleStore) -> Survivors:
        """Return the state after the result of one attack."""
        claimed, position, survives_rounding = (
            self.claimed.clone(),
            self.position.clone(),
            self.survives_rounding.clone(),
        )
        rows = result.rows[result.kept]
        theirs, places = result.claimed[result.kept], store.add(result.examples.images)
        better = theirs > claimed[rows]
        claimed[rows[better]], position[rows[better]] = theirs[better], places[better]
        survives = result.examples.survives_uint8
        survives_rounding[rows] |= torch.tensor(True) if survives is None else survives
        return Survivors(claimed, position, survives_rounding)

    def merged(self, other: Survivors) -> Survivors:
        """Merge with the state of another view, or of a smaller radius."""
        better = other.claimed > self.claimed
        return Survivors(
            torch.where(better, other.claimed, self.claimed),
            torch.where(better, other.position, self.position),
            self.survives_rounding | other.survives_rounding,
        )

    def lost_to_rounding(self) -> Tensor:
        """Return the positions of the images whose only examples are undone by 8-bit rounding."""
        return ((self.claimed > 0.5) & (self.position >= 0) & ~self.survives_rounding).nonzero().squeeze(1)

    def with_rescaled(self, rows: Tensor) -> Survivors:
        """Return the state in which the rescaled examples of `rows` survive rounding."""
        survives_rounding = self.survives_rounding.clone()
        survives_rounding[rows] = True
        return replace(self, survives_rounding=survives_rounding)
