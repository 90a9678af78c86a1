"""Training images by position: held in memory as bytes where that is lossless, else read when needed."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ...errors import InputError, user_code
from ...zoo.labels import class_labels

LabelledBatch = tuple[Tensor, Tensor]  # images (B, C, H, W) float in [0, 1], labels (B,) int64


class IndexedData(ABC):
    """Labelled images that can be read in any order."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def batches(self, order: Sequence[Tensor]) -> Iterator[LabelledBatch]:
        """Yield the images at the positions (B,) of each entry of `order`, in turn."""

    @abstractmethod
    def identity(self) -> str:
        """Return a text that tells these images from others: a checkpoint belongs to one source."""

    def at(self, rows: Tensor) -> LabelledBatch:
        """Return the images (B, C, H, W) and labels (B,) at these positions."""
        return next(self.batches([rows]))


class InMemoryData(IndexedData):
    """Images (N, C, H, W) in [0, 1] and labels (N,) held in memory, as bytes where that loses nothing.

    Raises: InputError.
    """

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        if isinstance(images, Tensor):
            images = images.detach().cpu()
            images = images.float() if images.dtype in (torch.float16, torch.bfloat16) else images
        if not isinstance(images, Tensor) or images.ndim != 4 or not len(images):
            got = str(tuple(images.shape)) if isinstance(images, Tensor) else type(images).__name__
            raise InputError(f"training images must be a tensor (N, C, H, W), not {got}")
        if labels.shape != (len(images),) or labels.is_floating_point():
            got = f"{labels.dtype} {tuple(labels.shape)}"
            raise InputError(f"{len(images)} images need as many whole labels; got {got}")
        if images.dtype == torch.uint8:
            self.pixels = images
        else:
            low, high = images.aminmax()
            if not (bool(images.isfinite().all()) and float(low) >= 0 and float(high) <= 1):
                raise InputError(f"pixels reach from {float(low):g} to {float(high):g}, and images lie in [0, 1]")
            self.pixels = as_bytes(images)
        self.labels = labels.detach().cpu().long()

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, order: Sequence[Tensor]) -> Iterator[LabelledBatch]:
        for rows in order:
            yield as_floats(self.pixels[rows]), self.labels[rows]

    def identity(self) -> str:
        digest = hashlib.sha256(str(tuple(self.pixels.shape)).encode())
        for tensor in (self.pixels, self.labels):
            for part in tensor.contiguous().split(1 << 14):  # type: ignore[no-untyped-call]
                digest.update(part.numpy().tobytes())
        return digest.hexdigest()


class StreamedData(IndexedData):
    """A data set with `len` and `[i] -> (image, label)`, read by `workers` processes as training goes on.

    A data set with `identity() -> str` says by it which one it is, for checkpoints. Where it draws from torch's
    generator, a training that goes on from a checkpoint sees the same draws only with workers=0; `training.augment`
    repeats its draws always. `classes`: how many the model has, if that is known; labels are checked against it.
    """

    def __init__(self, dataset: Any, workers: int = 0, classes: int | None = None) -> None:
        kind = type(dataset).__name__
        with user_code(f"len({kind})"):
            counted = hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__") and len(dataset) > 0
        if not counted:
            raise InputError(f"{kind} has no images by position; pass len() and [i] -> (image, label)")
        self.dataset, self.workers, self.classes = dataset, workers, classes

    def __len__(self) -> int:
        return len(self.dataset)

    def batches(self, order: Sequence[Tensor]) -> Iterator[LabelledBatch]:
        wanted: Any = [rows.tolist() for rows in order]
        dataset: Dataset[Any] = self.dataset
        kind = type(self.dataset).__name__
        reader = iter(DataLoader(dataset, batch_sampler=wanted, num_workers=self.workers))
        for places in wanted:
            with user_code(f"{kind} at {places[0]} and others"):
                given = next(reader)
            yield self._batch(kind, given, places)

    def _batch(self, kind: str, given: Any, places: list[int]) -> LabelledBatch:
        """Images and labels of what was read at these places; InputError where they are none."""
        if not (isinstance(given, tuple | list) and len(given) > 1 and isinstance(given[0], Tensor)):
            raise InputError(f"{kind}[{places[0]}] is no (image, label); return a tensor (C, H, W) and its class")
        images = given[0]
        if not (images.is_floating_point() or images.dtype == torch.uint8):
            raise InputError(f"{kind} has pixels of type {images.dtype}; use uint8, or floats in [0, 1]")
        low, high = images.aminmax()
        if images.is_floating_point() and not (float(low) >= 0 and float(high) <= 1):
            reach = f"pixels from {float(low):g} to {float(high):g}"
            raise InputError(
                f"{kind} has {reach}, and images lie in [0, 1]; leave the normalisation to the classifier's mean "
                "and std"
            )
        labels = class_labels(kind, given[1], len(images), self.classes, item=lambda row: f"item {places[row]}")
        if labels is None:
            raise InputError(f"{kind}[{places[0]}] has no label; training needs one for every image")
        return as_floats(images), torch.from_numpy(labels)

    def identity(self) -> str:
        own = getattr(self.dataset, "identity", None)
        if callable(own):
            return str(own())
        images, labels = self.at(torch.tensor([0, len(self) - 1]))
        return f"{len(self)} {tuple(images.shape[1:])} {labels.tolist()}"  # no pixels: they may be drawn at random


@dataclass(frozen=True)
class DataSubset(IndexedData):
    """The images at some positions (M,) of other data."""

    whole: IndexedData
    positions: Tensor

    def __len__(self) -> int:
        return len(self.positions)

    def batches(self, order: Sequence[Tensor]) -> Iterator[LabelledBatch]:
        return self.whole.batches([self.positions[rows] for rows in order])

    def identity(self) -> str:
        return f"{self.whole.identity()} {hashlib.sha256(self.positions.numpy().tobytes()).hexdigest()}"


def as_bytes(images: Tensor) -> Tensor:
    """Return the images as uint8 where every pixel is n / 255, as they are where one is not."""
    pixels = torch.empty(images.shape, dtype=torch.uint8)
    for first in range(0, len(images), 4096):
        part = images[first : first + 4096].float()
        whole = part.mul(255).round_()
        if not torch.equal(whole / 255, part):
            return images
        pixels[first : first + 4096] = whole
    return pixels


def as_floats(pixels: Tensor) -> Tensor:
    """Return bytes as floats in [0, 1], and floats as they are."""
    return pixels.float().div_(255) if pixels.dtype == torch.uint8 else pixels
