"""The running average of a model's weights."""

from __future__ import annotations

import copy

import torch
from torch import nn

from .config import Averaging


class AveragedModel:
    """A copy of `model` whose weights and buffers are the average; equal to the model until averaging starts."""

    def __init__(self, model: nn.Module, how: Averaging, updates: int) -> None:
        self.how, self.begin = how, how.start * updates
        self.model = copy.deepcopy(model).requires_grad_(False)
        self.count = 0

    @property
    def _share(self) -> float:
        """Return the weight of the newest weights in the average; a young exponential average forgets faster."""
        if self.how.kind == "swa":
            return 1 / (self.count + 1)
        return max(1 - self.how.decay, 9 / (10 + self.count))

    @torch.no_grad()
    def update(self, model: nn.Module, t: int) -> None:
        """Take the weights of `model` after update t into the average."""
        pairs = list(zip(self.model.state_dict().values(), model.state_dict().values(), strict=True))
        starting = t < self.begin or self.count == 0
        share = 1.0 if starting else self._share
        means = [(mean, new) for mean, new in pairs if mean.is_floating_point()]
        torch._foreach_lerp_([mean for mean, _ in means], [new for _, new in means], share)
        for mean, new in pairs:
            if not mean.is_floating_point():
                mean.copy_(new)
        self.count = 0 if t < self.begin else self.count + 1
