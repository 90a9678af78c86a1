"""Counts the samples a library sends forward and backward through a net."""

import torch
from torch import Tensor, nn


class CountedNet(nn.Module):
    """A plain module around the net (art unrolls `nn.Sequential`), so that every library is seen alike.

    `forwards` counts rows sent through the net; `backwards` counts rows whose gradient came back, once for
    each backward pass, also where several are run at once by `is_grads_batched`.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.forwards = 0
        self.backwards = 0

    def forward(self, images: Tensor) -> Tensor:
        self.forwards += len(images)
        logits: Tensor = self.net(images)
        if logits.requires_grad:
            logits.register_hook(self._count_backward)
        return logits

    def _count_backward(self, gradient: Tensor) -> None:
        self.backwards += len(gradient) * _lanes(gradient)


def _lanes(gradient: Tensor) -> int:
    """How many backward passes this one stands for (more than one inside `vmap`)."""
    functorch = torch._C._functorch
    if not functorch.is_batchedtensor(gradient):
        return 1
    dimension = functorch.maybe_get_bdim(gradient)
    inner = functorch.get_unwrapped(gradient)
    return inner.shape[dimension] * _lanes(inner)


class SinglePrecision(nn.Module):
    """Casts what it is given to float32: art's decision attacks hand over float64 under numpy 2."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images.float())
