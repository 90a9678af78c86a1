"""Insertion of layers into a copy of a user's network."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ...errors import TargetError
from ...targets.random_layers import Keyed

ANEW = 1 << 20
Wrap = Callable[[nn.Module, int], nn.Module]


class InsertedLayer(Keyed):
    """A random layer that may be called several times in one pass, as one ReLU often is, and draws anew each time."""

    def forward(self, inputs: Tensor) -> Tensor:
        outputs = super().forward(inputs)
        if self.key is not None:
            self.key = self.key.reseeded(ANEW)
        return outputs


def insert_layers(network: nn.Module, kinds: tuple[type[nn.Module], ...], layer: type[Keyed], wrap: Wrap) -> nn.Module:
    """Return a copy of `network` in which `wrap(module, number)` stands for each module of these kinds.

    They are numbered as the network lists them, a module that stands at several places once. `layer` is what `wrap`
    puts there.

    Raises: TargetError where there is nothing to wrap, or what was wanted is there already.
    """
    if not isinstance(network, nn.Module) or isinstance(network, torch.jit.ScriptModule):
        raise TargetError(f"layers can be put into a torch.nn.Module only, not into a {type(network).__name__}")
    if any(isinstance(module, layer) for module in network.modules()):
        raise TargetError(f"{type(network).__name__} has {layer.__name__}s already; pass the network without them")
    copied = copy.deepcopy(network)
    modules = list(copied.modules())
    found = [module for module in modules if isinstance(module, kinds)]
    if not found:
        names = " or ".join(kind.__name__ for kind in kinds)
        raise TargetError(
            f"{type(network).__name__} has no {names} module (functions cannot be seen); put "
            f"{layer.__name__} into its forward yourself"
        )
    wrapped = {module: wrap(module, number).train(module.training) for number, module in enumerate(found)}
    for parent in modules:
        for name, child in parent._modules.items():
            if child is not None:
                parent._modules[name] = wrapped.get(child, child)
    return wrapped.get(copied, copied)
