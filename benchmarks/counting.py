"""Counts the samples a library sends forward and backward through a net."""

from torch import Tensor, nn


class CountedNet(nn.Module):
    """A plain module around the net (art unrolls `nn.Sequential`), so that every library is seen alike.

    `forwards` counts rows sent through the net, `backwards` rows whose gradient came back, once for each backward
    pass. Passes run several at once (`is_grads_batched`) would count as one; no library measured here does that.
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
        self.backwards += len(gradient)


class SinglePrecision(nn.Module):
    """Casts what it is given to float32: art's decision attacks hand over float64 under numpy 2."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images.float())


class Probabilities(nn.Module):
    """Answers with probabilities: art's SimBA asks for them."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images).softmax(1)
