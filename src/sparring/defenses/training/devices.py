"""lightning-fabric, which carries devices, precision and processes."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from ...errors import AssetError, ConfigError
from .recipe import Section

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class Devices(Section):
    """What to train on: `count` processes, one per device; on a CPU they talk through gloo."""

    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    count: Annotated[int, Field(ge=1)] = 1
    nodes: Annotated[int, Field(ge=1)] = 1


def launched(devices: Devices, precision: str) -> Fabric:
    """A Fabric whose processes are running; each of them comes back from here."""
    try:
        from lightning_fabric import Fabric
    except ImportError as error:
        raise AssetError(f"training needs lightning-fabric ({error}); pip install 'sparring[train]'") from error
    many = devices.count * devices.nodes > 1
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fabric = Fabric(
                accelerator=devices.accelerator,
                devices=devices.count,
                num_nodes=devices.nodes,
                strategy="ddp" if many else "auto",
                precision=precision,  # type: ignore[arg-type]
            )
            fabric.launch()
    except (RuntimeError, ValueError) as error:
        raise ConfigError(f"devices accelerator={devices.accelerator!r}, count={devices.count}: {error}") from error
    return fabric
