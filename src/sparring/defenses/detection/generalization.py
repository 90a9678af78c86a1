"""Generalisation of detectors across attacks: fitted on (attack, eps) in rows, tested on (attack, eps) in columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ...errors import InputError
from ...targets import Target
from .adversarial_set import AdversarialSet
from .detector import DetectorEstimator
from .evaluation import DetectorEvaluation, evaluate_detector
from .fitted import FittedDetector


@dataclass(frozen=True)
class GeneralizationRow:
    """The row of one fitted detector, tested on every attack."""

    detector: str  # the caller's name for it
    fitted_on: str | None  # None: it needs no adversarial examples
    fitted: FittedDetector
    cells: tuple[DetectorEvaluation, ...]  # one per column


@dataclass(frozen=True)
class DetectorGeneralization:
    """A matrix of evaluations: one row per detector and attack that it was fitted on, one column per attack."""

    attacks: tuple[str, ...]  # the columns
    rows: tuple[GeneralizationRow, ...]

    def __str__(self) -> str:
        """AUROC / TPR in percent."""
        lines = [" | ".join(["detector", "fitted on", *self.attacks])]
        for row in self.rows:
            cells = [f"{cell.auroc.value:.3f} / {100 * cell.tpr.value:.0f}" for cell in row.cells]
            lines.append(" | ".join([row.detector, row.fitted_on or "-", *cells]))
        return "\n".join(lines)


def detector_generalization(
    detectors: Mapping[str, DetectorEstimator],
    fits: Sequence[AdversarialSet],
    tests: Sequence[AdversarialSet],
    validation: Tensor,
    *,
    target: Target[Any],
    labels: Tensor | None = None,
    noise: bool = False,
    fpr: float = 0.05,
    seed: int = 0,
) -> DetectorGeneralization:
    """Fit each detector on each of `fits`, set its threshold on `validation`, and test it on each of `tests`.

    Args:
        detectors: by name. One that needs no adversarial examples is fitted once, on the images of the first of `fits`.
        fits: what attacks made of images to learn from; the originals are the clean images.
        tests: what attacks made of other images; on those of `fits` the cells' notes say so.
        validation: clean images (N, C, H, W), others than those.
        target: the model.
        labels: (N,) classes of the originals of `fits`, which are then the same images; None: what the target says.
        noise: also give the detectors clean images with random noise of the same norm, to be taken for clean.
        fpr: the false positive rate of the thresholds.
        seed: of fits and noise.

    Raises:
        InputError, ConfigError, TargetError: as `fit`, `calibrate` and `evaluate_detector` do.
    """
    if not detectors or not fits or not tests:
        raise InputError("a matrix takes detectors, attacks to fit on and attacks to test on; one of them is empty")
    rows = []
    for name, detector in detectors.items():
        for made in fits if detector.needs_adversarial else fits[:1]:
            noisy = made.noisy(seed) if noise and detector.needs_adversarial else None
            fitted = detector.fit(made.originals, made, target=target, labels=labels, noisy=noisy, seed=seed)
            fitted = fitted.calibrate(validation, fpr)
            cells = tuple(evaluate_detector(fitted, test, seed=seed) for test in tests)
            rows.append(GeneralizationRow(name, made.attack if detector.needs_adversarial else None, fitted, cells))
    return DetectorGeneralization(tuple(test.attack for test in tests), tuple(rows))
