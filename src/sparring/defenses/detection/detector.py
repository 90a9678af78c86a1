"""`DetectorEstimator`, the base class of detectors before `fit`, and the data they are fitted on.

fitted = LID(k=20).fit(clean, adversarial, target=target)     # learns
fitted = fitted.calibrate(validation, fpr=0.05)              # a threshold, from clean images it has not seen
fitted.score(images)                                          # (N,) higher: more adversarial
Defended(target, fitted)                                      # a fitted detector is a Detector
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ...batching import map_batches
from ...errors import ConfigError, InputError
from ...isolation import isolated
from ...targets import Target
from .adversarial_set import AdversarialSet
from .checks import check_detector_images, check_detector_labels, check_logits
from .fitted import FitMetadata, FittedDetector, frozen_target
from .image_hashes import hash_images


@dataclass(frozen=True)
class DetectorTrainingData:
    """The checked data that a detector is fitted on; all on one device."""

    clean: Tensor  # (N, C, H, W)
    adversarial: Tensor | None  # (M, C, H, W); of an `AdversarialSet` only those that fool the target
    noisy: Tensor | None  # (L, C, H, W) with random noise, to be classified as clean
    labels: Tensor | None  # (N,) of the clean images; None: the target's predictions
    target: Target[Any] | None
    seed: int

    @property
    def required_target(self) -> Target[Any]:
        """Return the target, for detectors that need one (`needs_target`)."""
        assert self.target is not None
        return self.target

    @property
    def required_adversarial(self) -> Tensor:
        """Return the adversarial images, for detectors that need them (`needs_adversarial`)."""
        assert self.adversarial is not None
        return self.adversarial

    @property
    def negatives(self) -> Tensor:
        """Return the clean images followed by the noisy ones."""
        return self.with_noisy(self.clean)

    def with_noisy(self, clean: Tensor) -> Tensor:
        """Return these images followed by the noisy ones."""
        return clean if self.noisy is None else torch.cat((clean, self.noisy))

    def clean_labels(self) -> Tensor:
        """Return the labels (N,) of the clean images, or the target's predictions where none were given."""
        if self.labels is not None:
            return self.labels
        return map_batches(lambda images: self.required_target(images).argmax(1), self.clean)

    def shuffled(self) -> Tensor:
        """Return a random permutation (N,) of the positions of the clean images."""
        order = torch.randperm(len(self.clean), generator=torch.Generator().manual_seed(self.seed))
        return order.to(self.clean.device)


class DetectorEstimator(ABC):
    """Base class of detectors before fitting: frozen dataclasses of parameters with `fit`."""

    needs_adversarial: ClassVar[bool] = False
    needs_target: ClassVar[bool] = True
    fitted: ClassVar[type[FittedDetector]]

    @isolated()
    def fit(
        self,
        clean: Tensor,
        adversarial: Tensor | AdversarialSet | None = None,
        *,
        target: Target[Any] | None = None,
        labels: Tensor | None = None,
        noisy: Tensor | None = None,
        seed: int = 0,
    ) -> FittedDetector:
        """Fit the detector, and return it fitted; this record stays as it is.

        Args:
            clean: images (N, C, H, W) in [0, 1].
            adversarial: images (M, C, H, W), or an `AdversarialSet`, of which those that fool the target are used.
                Detectors that need none ignore them.
            target: the model to protect.
            labels: (N,) int64 classes of the clean images; None: the target's predictions.
            noisy: images (L, C, H, W) with random noise, to be classified as clean.
            seed: of splits, initial weights and minibatches.

        Raises:
            InputError, ConfigError, TargetError: before any work.
        """
        self.check()
        clean = check_detector_images("clean images", clean)
        shape = tuple(clean.shape[1:])
        examples, attacks = self._adversarial(adversarial, shape)
        noise = None if noisy is None else check_detector_images("noisy images", noisy, shape)
        known = None if labels is None else check_detector_labels(labels, len(clean))
        read = target if self.needs_target else None
        if self.needs_target:
            self._check_target(target, clean, known)
        place = clean.device if read is None else read.device
        given = {"clean": clean, "adversarial": examples, "noisy": noise, "labels": known}
        here: dict[str, Any] = {name: None if each is None else each.to(place) for name, each in given.items()}
        data = DetectorTrainingData(**here, target=read, seed=seed)
        metadata = FitMetadata(hash_images(clean), attacks, shape)
        with frozen_target(read):
            parts = self.learn(data)
        return self.fitted(detector=self, target=read, metadata=metadata, **parts)

    def _adversarial(
        self, given: Tensor | AdversarialSet | None, shape: tuple[int, ...]
    ) -> tuple[Tensor | None, tuple[str, ...]]:
        name = type(self).__name__
        if not self.needs_adversarial:
            return None, ()
        if given is None:
            raise InputError(
                f"{name} learns from adversarial examples: pass some, as make_adversarial_set(PGD(Linf(0.1)), target, "
                "images, labels), or take a detector that needs none (FeatureSqueezing, MagNet, Subspace)"
            )
        if not isinstance(given, AdversarialSet):
            return check_detector_images("adversarial images", given, shape), ("unknown",)
        if not bool(given.fooling.any()):
            raise InputError(f"none of {len(given)} examples of {given.attack} fools the model; use a larger radius")
        return check_detector_images("adversarial images", given.fooling_examples, shape), (given.attack,)

    def _check_target(self, target: Target[Any] | None, clean: Tensor, labels: Tensor | None) -> None:
        if target is None:
            raise ConfigError(f"{type(self).__name__} reads a model: pass target=Classifier(model)")
        classes = check_logits(target, clean).shape[1]
        if labels is not None and int(labels.max()) >= classes:
            raise InputError(f"labels go up to {int(labels.max())}, and {target.name} has {classes} classes")

    def check(self) -> None:  # noqa: B027 - a detector need not have parameters
        """Raise ConfigError where a parameter is out of range."""

    @abstractmethod
    def learn(self, data: DetectorTrainingData) -> dict[str, Any]:
        """Return the fields of the fitted detector; the target is frozen meanwhile."""

    def network(self, name: str, shape: tuple[int, ...], target: Target[Any] | None) -> nn.Module:
        """Return a blank network for the field `name` and images of `shape` (C, H, W), to read saved weights into."""
        raise KeyError(name)
