"""`Engine`: how to run (batch size, seed, checkpoints); apart from the seed, it changes results by rounding only."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch

from ..errors import ConfigError
from ..scalars import plain_number

AUTOCAST = (None, torch.bfloat16, torch.float16)


@dataclass(frozen=True)
class Progress:
    """The progress of a run, which is passed to `Engine.progress` after every step."""

    attack: str
    total: int  # rows of the run
    done: int  # rows of finished batches
    batch: int  # rows of the present batch
    live: int  # of those, rows that are still attacked
    step: int  # steps done in the present batch
    steps: int


@dataclass(frozen=True)
class Engine:
    """How to run an attack: batch size, seed, checkpoints.

    Args:
        batch_size: images per pass; halved, and remembered for the rest of the run, when memory runs out.
        seed: of all keyed randomness.
        compact: drop rows that are done; False only for measurements.
        check_done_every: steps between checks of which rows are done. None: 1 on a CPU, 8 on a GPU, where each check
            waits for the device. Passes spent on a row between two checks are counted, its result is the same.
        checkpoint: a folder; an interrupted run goes on from there when called again with the same arguments.
        checkpoint_seconds: how often the batch in progress is saved.
        autocast: a lower precision inside the search; every success is confirmed without it.
        progress: called after every step.
        confirmation_samples: fresh answers that decide on the success of an example, where the target is stochastic.
    """

    batch_size: int = 128
    seed: int = 0
    compact: bool = True
    check_done_every: int | None = None
    checkpoint: Path | str | None = None
    checkpoint_seconds: float = 30.0
    autocast: torch.dtype | None = None
    progress: Callable[[Progress], None] | None = None
    confirmation_samples: int = 20

    def __post_init__(self) -> None:
        for name, least in (("batch_size", 1), ("check_done_every", 1), ("confirmation_samples", 1)):
            value = plain_number(getattr(self, name))
            object.__setattr__(self, name, value)
            if value is not None and (not isinstance(value, int) or value < least):
                raise ConfigError(f"engine {name}={value!r}; pass an int >= {least}")
        object.__setattr__(self, "seed", plain_number(self.seed))
        if not isinstance(self.seed, int):
            raise ConfigError(f"engine seed={self.seed!r}; pass an int")
        if self.autocast not in AUTOCAST:
            raise ConfigError(f"engine autocast={self.autocast!r}; pass torch.bfloat16, torch.float16 or None")

    def precision(self, device: torch.device) -> AbstractContextManager[object]:
        """Return the autocast context of the search, for this device."""
        return nullcontext() if self.autocast is None else torch.autocast(device.type, dtype=self.autocast)
