"""A training written down: tensors and plain values, so that nothing in a checkpoint is executed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


def tensors_of(module: nn.Module, prefix: str) -> dict[str, Tensor]:
    """Parameters and buffers by name."""
    return {f"{prefix}.{name}": value.detach() for name, value in module.state_dict().items()}


def under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with the prefix, without it."""
    start = f"{prefix}."
    return {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}


def put_into(module: nn.Module, tensors: Mapping[str, Tensor], prefix: str) -> None:
    """The reverse of `tensors_of`; names and shapes must match."""
    module.load_state_dict(under(tensors, prefix))


def flattened(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """An optimiser's memory of each parameter: tensors, and the plain values among it."""
    tensors: dict[str, Tensor] = {}
    plain: dict[str, Any] = {}
    for place, memory in optimizer.state_dict()["state"].items():
        for name, value in memory.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{place}.{name}"] = value.detach()
            else:
                plain[f"{place}.{name}"] = value
    return tensors, plain


def refill(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
    """The reverse of `flattened`."""
    memory: dict[int, dict[str, Any]] = {}
    for name, value in {**under(tensors, "optimizer"), **plain}.items():
        place, _, word = name.partition(".")
        memory.setdefault(int(place), {})[word] = value
    optimizer.load_state_dict({"state": memory, "param_groups": optimizer.state_dict()["param_groups"]})
