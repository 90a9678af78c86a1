"""A module held still during an attack: eval mode, no parameter gradients; all is put back afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils import checkpoint

from ..errors import TargetError, user_code


def check_methods(module: nn.Module, name: str) -> None:
    """Raise UserCodeError or TargetError where a method that tells the layers or the weights does not work."""
    with user_code(f"{name}, asked for its layers and weights,"):
        named = [*module.named_modules(), *module.named_parameters(), *module.named_buffers()]
        told = [*module.modules(), *module.parameters(), *module.buffers(), *(value for _, value in named)]
    strange = next((one for one in told if not isinstance(one, Tensor | nn.Module)), None)
    if strange is not None:
        raise TargetError(
            f"{name}, asked for its layers and weights, gives {strange!r:.80}; its parameters() and buffers() are "
            "tensors, its modules() are modules"
        )


def check_weights(module: nn.Module, name: str) -> None:
    """Raise TargetError where a weight or buffer has no values yet: of a lazy layer, or on the meta device."""
    for where, value in chain(module.named_parameters(), module.named_buffers()):
        if is_lazy(value):
            raise TargetError(
                f"{where} of {name} belongs to a lazy layer that has seen no input, and has no shape yet; call the "
                "model on a batch once, and load its weights"
            )
        if value.is_meta:
            raise TargetError(
                f"{where} of {name} is on the meta device, where weights have no values; load them: "
                "model.to_empty(device='cpu'), then model.load_state_dict(...)"
            )


@contextmanager
def held_still(module: nn.Module, settle: Callable[[nn.Module], None]) -> Iterator[None]:
    """Call `settle`, which sets the mode, and switch parameter gradients off; restore flags and buffers afterwards.

    Weights made in inference mode, through which no gradient goes, are replaced by copies meanwhile.
    """
    parts = list(module.modules())
    training = [(part, getattr(part, "training", None)) for part in parts]
    wanted = [(one, one.requires_grad) for one in module.parameters() if not one.is_inference()]
    buffers = [
        (part, name, buffer, None if buffer is None else buffer.detach().clone())
        for part in parts
        for name, buffer in part._buffers.items()
    ]
    made = [
        (part, name, one)
        for part in parts
        for name, one in part._parameters.items()
        if one is not None and one.is_inference()
    ]
    try:
        settle(module)
        for parameter, _ in wanted:
            parameter.requires_grad_(False)
        copies: dict[int, nn.Parameter] = {}  # weights that several layers share stay shared
        for part, name, one in made:
            setattr(part, name, copies.setdefault(id(one), nn.Parameter(one.detach().clone(), requires_grad=False)))
        for part, name, buffer, before in buffers:
            if buffer is not None and buffer.is_inference():
                part._buffers[name] = before
        yield
    finally:
        for part, flag in training:
            if flag is None:
                vars(part).pop("training", None)
            else:
                part.training = flag
        for part, name, one in made:
            setattr(part, name, one)
        for parameter, flag in wanted:
            parameter.requires_grad_(flag)
        with torch.no_grad():
            for part, name, buffer, before in buffers:
                _restore(part, name, buffer, before)


REENTRANT = checkpoint.CheckpointFunction


class _Kept:
    """In the place of torch's reentrant checkpoint: it keeps what the backward pass needs."""

    @staticmethod
    def apply(function: Callable[..., Any], preserve_rng_state: bool, *inputs: Any) -> Any:
        return function(*inputs)


class _KeptBeforeWeights(_Kept):
    """The same for layers whose inputs have no gradient: a reentrant checkpoint would give their weights none."""

    @staticmethod
    def apply(function: Callable[..., Any], preserve_rng_state: bool, *inputs: Any) -> Any:
        climbed = any(isinstance(one, Tensor) and one.requires_grad for one in inputs)
        return (REENTRANT if climbed else _Kept).apply(function, preserve_rng_state, *inputs)


@contextmanager
def mended_checkpoints(attacked: bool) -> Iterator[None]:
    """Let layers with reentrant checkpoints give gradients with respect to inputs where `attacked`, else to weights."""
    before = checkpoint.CheckpointFunction
    checkpoint.CheckpointFunction = _Kept if attacked else _KeptBeforeWeights  # type: ignore[misc, assignment]
    try:
        yield
    finally:
        checkpoint.CheckpointFunction = before  # type: ignore[misc]


def _restore(part: nn.Module, name: str, buffer: Tensor | None, before: Tensor | None) -> None:
    part._buffers[name] = buffer  # a forward pass may have replaced it
    if buffer is None or before is None or buffer.is_inference():
        return
    if buffer.is_cuda or not torch.equal(buffer, before):  # on a GPU comparing would wait
        buffer.copy_(before)
