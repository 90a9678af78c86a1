"""The state of a training as tensors and plain values, so that nothing in a checkpoint is executed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from .update import TrainingStep


def training_state(update: TrainingStep) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return all that updates change: tensors, and plain values. Every process must call it."""
    memory = {f"memory.{name}": update.processes.gathered(value) for name, value in update.memory.items()}
    tensors, plain = flatten_optimizer(update.optimizer)
    tensors |= tensors_of(update.model, "model") | memory
    if update.averaged is not None:
        tensors |= tensors_of(update.averaged.model, "average")
    count = 0 if update.averaged is None else update.averaged.count
    return tensors, {"optimizer": plain, "averaged": count, "rescue": update.rescue}


def restore_state(update: TrainingStep, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
    """Put back what `training_state` returned."""
    update.model.load_state_dict(with_prefix(tensors, "model"))
    if update.averaged is not None:
        update.averaged.model.load_state_dict(with_prefix(tensors, "average"))
        update.averaged.count = values["averaged"]
    restore_optimizer(update.optimizer, tensors, values["optimizer"])
    update.memory |= {
        name: update.processes.part(value).to(update.processes.device)
        for name, value in with_prefix(tensors, "memory").items()
    }
    update.rescue = values["rescue"]


def tensors_of(module: nn.Module, prefix: str) -> dict[str, Tensor]:
    """Return the parameters and buffers of a module under `prefix`."""
    return {f"{prefix}.{name}": value.detach() for name, value in module.state_dict().items()}


def with_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin with the prefix, without it."""
    start = f"{prefix}."
    return {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}


def flatten_optimizer(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return an optimizer's state of each parameter: tensors, and plain values."""
    tensors: dict[str, Tensor] = {}
    plain: dict[str, Any] = {}
    for place, memory in optimizer.state_dict()["state"].items():
        for name, value in memory.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{place}.{name}"] = value.detach()
            else:
                plain[f"{place}.{name}"] = value
    return tensors, plain


def restore_optimizer(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]
) -> None:
    """Put back what `flatten_optimizer` returned."""
    memory: dict[int, dict[str, Any]] = {}
    for name, value in {**with_prefix(tensors, "optimizer"), **plain}.items():
        place, _, word = name.partition(".")
        memory.setdefault(int(place), {})[word] = value
    optimizer.load_state_dict({"state": memory, "param_groups": optimizer.state_dict()["param_groups"]})
    for weight, held in optimizer.state.items():  # fused kernels pair elements as they lie in memory
        for name, value in held.items():
            if isinstance(value, Tensor) and value.shape == weight.shape:
                held[name] = torch.empty_like(weight, dtype=value.dtype).copy_(value)
