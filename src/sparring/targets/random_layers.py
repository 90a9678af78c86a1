"""Random layers inside a network, whose draws can be repeated from a key.

A `Keyed` layer draws from the generators of torch, as any layer does in training. While a `Classifier` around its
network is called with a key, it draws from that key: the draws of an image do not depend on its batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ..random import Key


class Keyed(nn.Module):
    """A layer that draws: `normal` and `uniform` (B, *shape) for the B images of the forward pass.

    A subclass defines `noisy`; `forward` is that, or the identity while the layer is switched off.
    """

    def __init__(self) -> None:
        super().__init__()
        self.key: Key | None = None
        self.silent = False  # switched off: forward is the identity
        self.stream = ""  # its place in the network, so that no two layers draw the same

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs if self.silent else self.noisy(inputs)

    def noisy(self, inputs: Tensor) -> Tensor:
        """The inputs (B, ...), changed at random."""
        raise NotImplementedError

    def normal(self, like: Tensor) -> Tensor:
        """Standard normal, of the shape and dtype of `like` (B, ...)."""
        if self.key is None:
            return torch.randn_like(like)
        return self.key.normal(self.stream, like.shape[1:], dtype=like.dtype)

    def uniform(self, like: Tensor) -> Tensor:
        """Uniform in [0, 1), of the shape and dtype of `like` (B, ...)."""
        if self.key is None:
            return torch.rand_like(like)
        return self.key.uniform(self.stream, like.shape[1:], dtype=like.dtype)


def keyed_layers(model: object) -> list[Keyed]:
    """Return the random layers of a network, and set the stream of each to its name."""
    if not isinstance(model, nn.Module):
        return []
    found = []
    for name, module in model.named_modules():
        if isinstance(module, Keyed):
            module.stream = name
            found.append(module)
    return found


@contextmanager
def drawing(layers: Sequence[Keyed], key: Key) -> Iterator[None]:
    """Let the layers draw from `key` within this context."""
    for layer in layers:
        layer.key = key
    try:
        yield
    finally:
        for layer in layers:
            layer.key = None


@contextmanager
def disable_noise(layers: Sequence[Keyed]) -> Iterator[None]:
    """Switch the layers off within this context."""
    before = [layer.silent for layer in layers]
    try:
        for layer in layers:
            layer.silent = True
        yield
    finally:
        for layer, silent in zip(layers, before, strict=True):
            layer.silent = silent
