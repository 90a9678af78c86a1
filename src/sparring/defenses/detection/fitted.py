"""`FittedDetector`, the base class of detectors after `fit`: scores, calibration of the threshold, alarms."""

from __future__ import annotations

from abc import abstractmethod
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn

from ...batching import BATCH_SIZE, map_batches
from ...errors import ConfigError, InputError
from ...isolation import isolated
from ...module_identity import module_identity
from ...random import Key
from ...targets import Target
from ...transforms import Detector
from .checks import check_detector_images
from .detector_file import save_detector
from .image_hashes import count_known
from .threshold import Threshold, conformal_threshold

if TYPE_CHECKING:
    from .detector import DetectorEstimator


@dataclass(frozen=True)
class FitMetadata:
    """The data that a detector was fitted on."""

    seen: Tensor  # (N,) hashes of its clean images
    attacks: tuple[str, ...]  # that made its adversarial images; "unknown" where a tensor was given
    shape: tuple[int, ...]  # (C, H, W)


@dataclass(frozen=True, eq=False, kw_only=True)
class FittedDetector(Detector):
    """Base class of fitted detectors. They are frozen: `calibrate` returns another, with a threshold."""

    detector: DetectorEstimator
    target: Target[Any] | None
    metadata: FitMetadata
    threshold: Threshold | None = None

    @abstractmethod
    def differentiable_score(self, images: Tensor, key: Key) -> Tensor:
        """Return the score (B,), differentiable in the images (B, C, H, W); higher is more adversarial."""

    @property
    def name(self) -> str:
        """Return the name of the detector."""
        return type(self.detector).__name__

    @property
    def required_target(self) -> Target[Any]:
        """Return the target, for detectors that need one."""
        assert self.target is not None
        return self.target

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        own = tuple(value for value in vars(self).values() if isinstance(value, nn.Module))
        model = getattr(self.target, "model", None)
        return (*own, model) if isinstance(model, nn.Module) else own

    @isolated()
    def score(self, x: Tensor, *, indices: Tensor | None = None, seed: int = 0, batch_size: int = BATCH_SIZE) -> Tensor:
        """Return the scores (N,) of images x (N, C, H, W); higher is more adversarial.

        Args:
            x: images in [0, 1], of the shape seen in `fit`.
            indices: (N,) positions that key random draws; 0 to N - 1 by default.
            seed: of random draws.
            batch_size: images per pass.

        Raises: InputError.
        """
        images = check_detector_images("images to score", x, self.metadata.shape).to(self.device)
        key = Key((torch.arange(len(x)) if indices is None else indices).to(self.device), seed)

        def measured(part: Tensor, indices: Tensor) -> Tensor:
            return self.differentiable_score(part, replace(key, indices=indices))

        with frozen_target(self.target):
            return map_batches(measured, images, key.indices, batch_size=batch_size)

    @property
    def device(self) -> torch.device:
        """Return the device of the target, or of its own network."""
        if self.target is not None:
            return self.target.device
        weights = (weight for module in self.modules for weight in module.parameters())
        return next((weight.device for weight in weights), torch.device("cpu"))

    def calibrate(self, clean_validation: Tensor, fpr: float = 0.05, *, seed: int = 0) -> Self:
        """Return the same detector with a threshold that a share `fpr` of fresh clean images exceeds at most.

        Raises:
            InputError: images that it has learned from, or too few of them for that rate.
        """
        repeated = count_known(check_detector_images("validation images", clean_validation), self.metadata.seen)
        if repeated:
            raise InputError(
                f"{repeated} of {len(clean_validation)} validation images were used to fit {self.name}, whose scores "
                "of them say nothing of others; pass clean images that it has not seen"
            )
        return replace(self, threshold=conformal_threshold(self.score(clean_validation, seed=seed), fpr))

    @property
    def required_threshold(self) -> Threshold:
        """Return the threshold; ConfigError where there is none yet."""
        if self.threshold is None:
            raise ConfigError(f"{self.name} has no threshold yet: call calibrate(clean_validation, fpr=0.05)")
        return self.threshold

    def alarm(self, images: Tensor, key: Key) -> Tensor:
        limit = self.required_threshold
        return (self.differentiable_score(images, key) - limit.value) / limit.std

    def identity(self) -> tuple[object, ...]:
        names = [f.name for f in fields(self) if f.name not in ("detector", "target", "metadata")]
        own = [word for name in names for word in self._identity_of_field(name)]
        return (repr(self.detector), *own, *(self.target.identity() if self.target is not None else ()))

    def _identity_of_field(self, name: str) -> tuple[object, ...]:
        value = getattr(self, name)
        if isinstance(value, nn.Module):
            return module_identity(value)
        return (name, *value) if isinstance(value, tuple) else (name, value)

    def save(self, path: Path | str) -> Path:
        """Write one safetensors file: tensors and plain values, not the target. `load_detector` reads it.

        Raises:
            RunError: where the disk does not take it.
        """
        return save_detector(self, Path(path))


def frozen_target(target: Target[Any] | None) -> AbstractContextManager[None]:
    """Freeze the target within this context, where there is one."""
    return nullcontext() if target is None else target.frozen()
