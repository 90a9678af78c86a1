"""`Devices`: precision, accelerators and processes of a training, run by lightning-fabric."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from ...errors import ConfigError
from ...targets.optional_imports import import_optional
from .config import ConfigSection, Count

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class Devices(ConfigSection):
    """The devices to train on: one process per device; on a CPU they communicate through gloo.

    Args:
        accelerator: "auto", "cpu" or "cuda".
        count: processes of each machine.
        nodes: machines.
    """

    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    count: Count = 1
    nodes: Count = 1


def launch(devices: Devices, precision: str) -> Processes:
    """Start the processes; each of them returns from here.

    Raises: AssetError without lightning-fabric, ConfigError where the devices are not there.
    """
    fabric_package = import_optional("lightning_fabric", "training", "train")
    many = devices.count * devices.nodes > 1
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fabric = fabric_package.Fabric(
                accelerator=devices.accelerator,
                devices=devices.count,
                num_nodes=devices.nodes,
                strategy="ddp" if many else "auto",
                precision=precision,
            )
            fabric.launch()
    except (RuntimeError, ValueError) as error:
        raise ConfigError(f"devices accelerator={devices.accelerator!r}, count={devices.count}: {error}") from error
    return Processes(fabric)


@dataclass(frozen=True)
class Processes:
    """One process among those that train together."""

    fabric: Fabric

    @property
    def rank(self) -> int:
        """Return this process's number, from 0."""
        return self.fabric.global_rank

    @property
    def count(self) -> int:
        """Return how many processes there are."""
        return self.fabric.world_size

    @property
    def is_first(self) -> bool:
        """Tell whether this process is the one that writes."""
        return self.fabric.is_global_zero

    @property
    def device(self) -> torch.device:
        """Return the device of this process."""
        return self.fabric.device

    def part(self, rows: Tensor) -> Tensor:
        """Return this process's part of the rows."""
        return rows.tensor_split(self.count)[self.rank]

    def total(self, values: Tensor) -> Tensor:
        """Return the sum over all processes."""
        if self.count == 1:
            return values
        summed: Tensor = self.fabric.all_reduce(values, reduce_op="sum")  # type: ignore[assignment]
        return summed

    def agreed(self, due: bool) -> bool:
        """Return what the first process says, in every process."""
        return due if self.count == 1 else bool(self.fabric.broadcast(due))

    def same_statistics(self, model: torch.nn.Module) -> None:
        """Give every process the mean of their buffers: each has seen its own part of the minibatch."""
        buffers = [buffer for buffer in model.buffers() if buffer.is_floating_point()]
        if self.count == 1 or not buffers:
            return
        flat = self.total(torch.cat([buffer.detach().flatten() for buffer in buffers])) / self.count
        with torch.no_grad():
            for buffer, mean in zip(buffers, torch.split(flat, [buffer.numel() for buffer in buffers]), strict=True):
                buffer.copy_(mean.view_as(buffer))

    def gathered(self, value: Tensor) -> Tensor:
        """Return the parts of all processes, joined in the order of their ranks."""
        if self.count == 1:
            return value
        whole: Tensor = self.fabric.all_gather(value)  # type: ignore[assignment]
        return whole.flatten(0, 1)
