"""Goals that require a share of many parts to be won: pixels of an image, or scenes of a patch."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any

import torch

from ..rows import flatten
from ..shapes import BoolSites, FloatPerRow, IntSites
from .climbs import Climb
from .goal import Goal
from .terms import Terms

ROUNDING = 1e-12  # of a part, so that 0.07 of 100 parts are 7 of them and not 8


class ShareGoal(Goal):
    """A goal that is met where at least `share` of the P parts of a row are won.

    The margin is that of the part which completes the share: the ceil(share * P)-th largest, and NaN where that of a
    part is. The loss is the mean of the loss over all parts, since a single part would give a gradient of its
    own alone; a loss with rows of its own (`RivalMargin`) is taken of the margin.
    """

    share: float
    margin_in = "logits"  # or "parts": by how many parts more than needed are won

    @abstractmethod
    def parts(self, outputs: Any) -> tuple[Terms, BoolSites]:
        """Return the terms of all parts, values (B * P, K), and which parts count, (B, P) bool."""

    def loss_parts(self, outputs: Any) -> tuple[Terms, BoolSites]:
        """Return the terms that losses are made of: those of `parts`, unless overridden."""
        return self.parts(outputs)

    def groups(self) -> IntSites | None:
        """Return the class (B, P) of each part, for losses that weigh classes alike; None: there are none."""
        return None

    def terms(self, outputs: Any) -> Terms:
        """Return one term per row (B, 1): the margin of the part that completes the share."""
        parts, counted = self.parts(outputs)
        margins = parts.margin.view(counted.shape).masked_fill(~counted, -torch.inf)
        counts = counted.sum(1)
        needed = (self.share * counts.double() - ROUNDING * counts).ceil().long().clamp_min(1)
        if self.margin_in == "parts":
            won = (margins > 0).sum(1, keepdim=True)
            values = (won - needed[:, None] + 0.5).to(margins.dtype) / counts[:, None].clamp_min(1)
        else:
            values = margins.sort(dim=1, descending=True).values.gather(1, needed[:, None] - 1)
        return Terms(values.masked_fill(margins.isnan().any(1, keepdim=True), torch.nan))

    def loss_of(self, outputs: Any, climb: Climb | None = None) -> FloatPerRow:
        """Return the mean (B,) of the loss over the parts that count."""
        climb = self.loss.in_sum() if climb is None else climb
        if flatten(climb)[0]:
            return climb.of(self.terms(outputs))
        parts, counted = self.loss_parts(outputs)
        losses = climb.of_parts(parts, counted, self.groups())
        return torch.where(counted, losses, 0.0).sum(1) / counted.sum(1).clamp_min(1)

    def won_share(self, outputs: Any) -> FloatPerRow:
        """Return the share (B,) of the parts that are won."""
        parts, counted = self.parts(outputs)
        won = (parts.margin.view(counted.shape) > 0) & counted
        return won.sum(1) / counted.sum(1).clamp_min(1)


def check_share(share: float) -> bool:
    """Return whether `share` is a number that a goal can require."""
    return isinstance(share, int | float) and math.isfinite(share) and 0 < share <= 1
