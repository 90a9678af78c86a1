"""How often a target answers each class under noise: sampled in batches, with progress and a checkpoint."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ....batching import map_batches
from ....engine import Engine, Progress, fingerprint
from ....engine.answers import FEW
from ....engine.checkpoint import Checkpoint, identity_of
from ....errors import TargetError
from ....goals import DetectorOutputs
from ....random import Key
from ....targets import Pipeline, answered

BATCHES = 8  # between two looks at the clock


@dataclass
class ClassCounts:
    """Count the classes that a random pipeline answers, in `sizes` groups of draws for each image.

    Draw number s of an image depends on the seed, the image's index and s alone, not on the batch.

    Args:
        pipeline: the target behind its noise, frozen.
        images: (N, C, H, W), on any device.
        indices: (N,) int64, positions in the data set.
        sizes: draws per image in each group; the groups are drawn one after another.
        engine: batch size, seed, checkpoint folder and progress.
    """

    pipeline: Pipeline[Any]
    images: Tensor
    indices: Tensor
    sizes: tuple[int, ...]
    engine: Engine

    def __post_init__(self) -> None:
        self.per_image = sum(self.sizes)
        self.total = len(self.images) * self.per_image
        self.ends = torch.tensor(self.sizes).cumsum(0)
        self.checkpoint: Checkpoint | None = None
        self.done, self.counts = 0, torch.zeros(0)

    def __call__(self, check: Callable[[int], None] | None = None) -> Tensor:
        """Return (groups, N, K + 1) int64; the last column counts answers that are NaN.

        `check` is called with the number K of classes before the first draw.

        Raises: TargetError for outputs that are no classes, RunError for a checkpoint that is of another call or that
        cannot be written.
        """
        if self.engine.checkpoint is not None:
            parts = self.images, self.indices, self.sizes, self.engine.seed, *identity_of(self.pipeline)
            self.checkpoint = Checkpoint(Path(self.engine.checkpoint), fingerprint("class counts", *parts))
        classes = self._count_classes()
        if check is not None:
            check(classes)
        self.counts = torch.zeros(len(self.sizes), len(self.images), classes + 1, dtype=torch.int64)
        self._load()
        written, saved = time.perf_counter(), self.done
        try:
            while self.done < self.total:
                self._advance()
                if time.perf_counter() - written > self.engine.checkpoint_seconds:
                    self._save()
                    written, saved = time.perf_counter(), self.done
        finally:
            if self.done > saved:
                self._save()
        return self.counts

    def _advance(self) -> None:
        """Count a few batches, and report."""
        stop = min(self.done + BATCHES * self.engine.batch_size, self.total)
        draws = torch.arange(self.done, stop)
        found = map_batches(self._classes, draws, batch_size=self.engine.batch_size)
        image, draw = draws // self.per_image, draws % self.per_image
        group = torch.bucketize(draw, self.ends, right=True)
        place = (group * len(self.images) + image) * self.counts.shape[2] + found
        self.counts.view(-1).scatter_add_(0, place, torch.ones_like(place))
        self.done = stop
        if self.engine.progress is not None:
            whole, rest = divmod(stop, self.per_image)
            live = int(rest > 0)
            shown = Progress("smoothing", len(self.images), whole, live, live, rest, self.per_image)
            self.engine.progress(shown)

    def _count_classes(self) -> int:
        """Return the number K of classes, from the target's answer to the first images without noise."""
        target = self.pipeline.target
        with torch.no_grad():
            outputs = answered(target, *self._first())
        if isinstance(outputs, DetectorOutputs):
            raise TargetError(
                f"{target.name} may reject images, and smoothing counts classes; smooth the model without its detector"
            )
        if not bool(outputs.isfinite().any()):
            raise TargetError(f"{target.name} returned no finite logit for the first images; check its weights")
        return int(outputs.shape[1])

    def _classes(self, draws: Tensor) -> Tensor:
        """Return the class of each draw (B,) on the CPU; K stands for NaN."""
        image, draw = draws // self.per_image, draws % self.per_image
        device = self.pipeline.device
        key = Key(self.indices[image].to(device), self.engine.seed).at(draw.to(device))
        outputs = self.pipeline.once(self.images[image.to(self.images.device)].to(device), key)
        return torch.where(outputs.isnan().any(1), outputs.shape[1], outputs.argmax(1)).cpu()

    def _save(self) -> None:
        if self.checkpoint is not None:
            self.checkpoint.save(0, len(self.images), ({"counts": self.counts}, {"done": self.done}))

    def _load(self) -> None:
        if self.checkpoint is None:
            return
        self.checkpoint.check_answers(self.pipeline.target, *self._first(), None)
        found = self.checkpoint.under_way(0)
        if found is not None:
            self.counts, self.done = found[1]["counts"], found[2]["done"]

    def _first(self) -> tuple[Tensor, Key]:
        """Return the first images on the target's device, and their keys."""
        device = self.pipeline.device
        return self.images[:FEW].to(device), Key(self.indices[:FEW].to(device), self.engine.seed)
