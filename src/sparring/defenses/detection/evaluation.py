"""Evaluation of a detector: how well it separates adversarial from clean images, and from noisy ones.

AUROC         adversarial images that fool the model, against the images that they were made of
TPR           share of them that the threshold rejects;  FPR  share of fresh clean images that it rejects
noisy         share of clean images with random noise of the same norm that it rejects: a detector of noise
              rejects those too
undetected    share of all images that the model is right on whose example fools it and passes the detector
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import InputError, ThreatError
from ...intervals import Interval, auroc, clopper_pearson
from .adversarial_set import AdversarialSet
from .fitted import FittedDetector
from .image_hashes import count_known, hash_images


@dataclass(frozen=True)
class DetectorEvaluation:
    """The measurements of one detector on one attack."""

    detector: str
    fitted_on: tuple[str, ...]  # attacks
    attack: str
    asked_fpr: float  # that the threshold was set for
    auroc: Interval
    tpr: Interval
    fpr: Interval  # measured on the clean images here
    noisy: Interval | None  # None: the norm has no such noise
    auroc_noisy: Interval | None  # adversarial images against noisy ones
    undetected: Interval
    fooling: int  # examples that fool the model: those that count
    notes: tuple[str, ...]

    def __str__(self) -> str:
        noisy = f", noisy clean rejected {self.noisy.value:.1%}" if self.noisy is not None else ""
        return (
            f"{self.detector} on {self.attack}: AUROC {self.auroc}, TPR {self.tpr.value:.1%} at FPR "
            f"{self.asked_fpr:.1%} (measured {self.fpr.value:.1%}){noisy}, undetected and misclassified "
            f"{self.undetected.value:.1%}" + "".join(f"; {note}" for note in self.notes)
        )


def evaluate_detector(
    fitted: FittedDetector, crafted: AdversarialSet, clean: Tensor | None = None, *, seed: int = 0
) -> DetectorEvaluation:
    """Measure a calibrated detector on the examples of an attack.

    Args:
        fitted: with a threshold.
        crafted: of images that it has not seen, by an attack that it has not seen; else the notes say so.
        clean: fresh clean images (N, C, H, W) for the FPR; None: those of `crafted` that the model is right on.
        seed: of the noise, and of what draws.

    Raises:
        ConfigError: a detector without a threshold.
        InputError: images of another shape.
    """
    limit = fitted.required_threshold
    originals = crafted.originals[crafted.correct]
    fresh = originals if clean is None else clean
    if not len(fresh):
        raise InputError(f"the model is right on none of the {len(crafted)} images of {crafted.attack}")
    negatives = fitted.score(fresh, seed=seed)
    examples = crafted.fooling_examples
    scores = fitted.score(examples, seed=seed) if len(examples) else negatives[:0]
    caught = int((scores > limit.value).sum())
    noise = _noisy(fitted, crafted, seed)
    rejected = int((negatives > limit.value).sum())
    return DetectorEvaluation(
        detector=fitted.name,
        fitted_on=fitted.metadata.attacks,
        attack=crafted.attack,
        asked_fpr=limit.fpr,
        auroc=auroc(negatives, scores),
        tpr=clopper_pearson(caught, len(scores)),
        fpr=clopper_pearson(rejected, len(negatives)),
        noisy=None if noise is None else clopper_pearson(int((noise > limit.value).sum()), len(noise)),
        auroc_noisy=None if noise is None else auroc(noise, scores),
        undetected=clopper_pearson(len(scores) - caught, len(originals)),
        fooling=len(scores),
        notes=evaluation_notes(fitted, crafted, fresh),
    )


def _noisy(fitted: FittedDetector, crafted: AdversarialSet, seed: int) -> Tensor | None:
    if not bool(crafted.fooling.any()):
        return None
    try:
        return fitted.score(crafted.noisy(seed), seed=seed)
    except ThreatError:
        return None


def evaluation_notes(fitted: FittedDetector, crafted: AdversarialSet, clean: Tensor) -> tuple[str, ...]:
    """Return what must be said beside the figures."""
    notes, seen = [], fitted.metadata.seen
    if crafted.attack in fitted.metadata.attacks:
        notes.append(f"fit and test attack are the same, {crafted.attack}")
    if "unknown" in fitted.metadata.attacks:
        notes.append("the attack that it was fitted on is not known")
    again = max(count_known(crafted.originals, seen), count_known(clean, seen))
    if again:
        notes.append(f"{again} of the test images were used to fit")
    if torch.unique(hash_images(clean)).numel() < len(clean):
        notes.append("some clean test images are the same")
    if not bool(crafted.fooling.any()):
        notes.append("no example fools the model")
    return tuple(notes)
