"""Reading of layer activations through forward hooks, which are removed afterwards also where an error occurs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ...batching import iterate_batches
from ...errors import ConfigError, TargetError, nearest
from ...targets import Classifier, Target

PASSING = (nn.Flatten, nn.Unflatten, nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout)
Reduce = Callable[[Tensor], Tensor]
Change = Callable[[Tensor], Tensor]


def flatten_units(activation: Tensor) -> Tensor:
    """Return every unit as (B, F), in a tensor of its own, which layers that work in place do not reach."""
    return activation.flatten(1).clone()


def spatial_mean(activation: Tensor) -> Tensor:
    """Return (B, channels): the mean over H and W of (B, channels, H, W)."""
    return activation.mean((2, 3)) if activation.ndim == 4 else activation.clone()


def unreduced(activation: Tensor) -> Tensor:
    """Return a copy of the activation."""
    return activation.clone()


def inner_module(target: Target[Any]) -> nn.Module:
    """Return the network; TargetError where its layers cannot be read."""
    model = target.model if isinstance(target, Classifier) else None
    if not isinstance(model, nn.Module):
        raise TargetError(f"{target.name}: only the layers of a Classifier around a torch.nn.Module can be read")
    return model


def default_layers(target: Target[Any], image: Tensor) -> tuple[str, ...]:
    """Return the layers that are read by default: all leaf modules whose output has rank 2 or 4, logits included.

    In the order of their last call, and without those that only hand on (Flatten, Identity, Dropout).
    """
    model, called = inner_module(target), dict[str, None]()

    def note(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.ndim in (2, 4):
                called.pop(name, None)
                called[name] = None

        return hook

    with ExitStack() as hooks, torch.no_grad(), target.frozen():
        for name, module in model.named_modules():
            if name and not [*module.children()] and not isinstance(module, PASSING):
                hooks.callback(module.register_forward_hook(note(name)).remove)
        target(image[:1])
    return tuple(called)


def select_layers(target: Target[Any], layers: Sequence[str] | None, image: Tensor) -> tuple[str, ...]:
    """Return the names of the layers to read: `layers`, checked, or the default ones where it is None.

    Raises:
        ConfigError: a name that the model does not have, or a layer that cannot be read.
    """
    if layers is None:
        return default_layers(target, image)
    if isinstance(layers, str) or not layers:
        raise ConfigError(
            f"layers={layers!r}; pass one or more names, as ('{next(iter(default_layers(target, image)))}',)"
        )
    known = [name for name, _ in inner_module(target).named_modules() if name]
    for name in layers:
        if name not in known:
            hint = nearest(name, known)
            raise ConfigError(f"{target.name} has no layer {name!r}.{hint} Its layers: {', '.join(known)}")
    with torch.no_grad(), target.frozen():
        activations(target, image[:1], tuple(layers), unreduced)
    return tuple(layers)


def activations(
    target: Target[Any], images: Tensor, layers: tuple[str, ...], reduce: Reduce
) -> tuple[Tensor, list[Tensor]]:
    """Return the logits, and what `reduce` makes of the output of each layer's last call."""
    model, read = inner_module(target), dict[str, Tensor]()

    def reading(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if not isinstance(output, Tensor) or output.ndim not in (2, 4):
                got = f"rank {output.ndim}" if isinstance(output, Tensor) else f"a {type(output).__name__}"
                raise ConfigError(f"layer {name!r} gives {got}; layers of rank 2 or 4 can be read")
            read[name] = reduce(output)

        return hook

    with ExitStack() as hooks:
        for name in layers:
            hooks.callback(model.get_submodule(name).register_forward_hook(reading(name)).remove)
        logits: Tensor = target(images)
    missing = [name for name in layers if name not in read]
    if missing:
        raise ConfigError(f"{target.name} does not call its layer {missing[0]!r}; name another")
    return logits, [read[name] for name in layers]


def layer_features(
    target: Target[Any], images: Tensor, layers: tuple[str, ...], reduce: Reduce, batch_size: int
) -> list[Tensor]:
    """Return what `reduce` makes of each layer's output for all images (N, C, H, W), without gradients."""
    parts = iterate_batches(lambda x: activations(target, x, layers, reduce)[1], images, batch_size=batch_size)
    return [torch.cat(column) for column in zip(*parts, strict=True)]


def last_linear(target: Target[Any], image: Tensor) -> str:
    """Return the linear layer that is called last: its input is the last hidden layer. TargetError where none is."""
    model, called = inner_module(target), list[str]()
    with ExitStack() as hooks, torch.no_grad(), target.frozen():
        for name, module in model.named_modules():
            if isinstance(module, nn.Linear):
                hook = module.register_forward_pre_hook(lambda module, inputs, name=name: called.append(name))
                hooks.callback(hook.remove)
        target(image[:1])
    if not called:
        raise TargetError(f"{target.name} has no linear layer, and so no last hidden layer")
    return called[-1]


@contextmanager
def modified_layer_input(target: Target[Any], layer: str, change: Change) -> Iterator[None]:
    """Replace what goes into the layer by `change` of it, within this context."""
    module = inner_module(target).get_submodule(layer)
    hook = module.register_forward_pre_hook(lambda module, inputs: (change(inputs[0]), *inputs[1:]))
    try:
        yield
    finally:
        hook.remove()
