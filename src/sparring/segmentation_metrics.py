"""Metrics of semantic segmentation: pixel accuracy, IoU of each class, and the worst of several attacks.

Images are counted in a confusion matrix (B, K, K): `counts[b, i, j]` pixels of class i that the model takes for class
j. The mean IoU of a data set is taken over the sum of its images' matrices, as VOC and Cityscapes do it: of

    IoU_k = counts[k, k] / ( sum_j counts[k, j] + sum_i counts[i, k] - counts[k, k] )

the mean over the classes that occur, in a label or in a prediction.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .errors import InputError

ROUNDS = 20  # of the greedy choice; it ends where nothing changes


def confusion(predictions: Tensor, labels: Tensor, classes: int, ignore: int = 255) -> Tensor:
    """Return the confusion matrices (B, K, K) int64 of each image.

    Args:
        predictions: (B, ...) int, the predicted class of each pixel: `logits.argmax(1)`.
        labels: (B, ...) int, its class; `ignore` where there is none.
        classes: K.

    Raises: InputError for shapes that differ, or a class outside 0 to K - 1.
    """
    if predictions.shape != labels.shape or predictions.is_floating_point() or labels.is_floating_point():
        raise InputError(
            f"predictions are {predictions.dtype} {tuple(predictions.shape)} and labels {labels.dtype} "
            f"{tuple(labels.shape)}; pass integers of one shape, as logits.argmax(1)"
        )
    known = labels != ignore
    for name, one in (("prediction", predictions), ("label", labels)):
        outside = known & ((one < 0) | (one >= classes))
        if bool(outside.any()):
            raise InputError(f"a {name} is class {int(one[outside][0])}, and there are {classes}, from 0")
    row = torch.arange(len(labels), device=labels.device).view(-1, *[1] * (labels.ndim - 1))
    index = (row * classes + labels) * classes + predictions
    counts = torch.bincount(index[known], minlength=len(labels) * classes**2)
    return counts.view(len(labels), classes, classes)


def pixel_accuracy(counts: Tensor) -> float:
    """Return the share of labelled pixels that have their class, over the sum of matrices (B, K, K)."""
    total = _total(counts)
    return float(total.diagonal().sum() / total.sum())


def class_iou(counts: Tensor) -> Tensor:
    """Return the intersection over union (K,) of each class, over matrices (B, K, K); NaN where it never occurs."""
    total = _total(counts)
    shared = total.diagonal()
    return shared / (total.sum(0) + total.sum(1) - shared)  # 0 / 0 is NaN


def mean_iou(counts: Tensor) -> float:
    """Return the mean IoU over the classes that occur, over the sum of matrices (B, K, K)."""
    return float(class_iou(counts).nanmean())


@dataclass(frozen=True)
class WorstCase:
    """What is left of several attacks on the same images: for each image the attack that counts.

    Attributes:
        choice: (B,) int64, the attack of each image.
        value: the pixel accuracy or mean IoU of these.
    """

    choice: Tensor
    value: float


def worst_pixel_accuracy(counts: Tensor) -> WorstCase:
    """Return the lowest pixel accuracy that A attacks reach together, from their matrices (A, B, K, K)."""
    _check_attacks(counts)
    right = counts.diagonal(dim1=2, dim2=3).sum(2)
    choice = right.argmin(0)
    return WorstCase(choice, pixel_accuracy(_chosen(counts, choice)))


def worst_mean_iou(counts: Tensor) -> WorstCase:
    """Return a low mean IoU that A attacks reach together, from their matrices (A, B, K, K).

    The IoU of a data set is not a sum over its images, so that the best choice is found greedily (Croce, Singh & Hein
    2024, arXiv:2306.12941, section 3.6): from the lowest pixel accuracies, and from each attack alone, image by image
    the attack that lowers the mean IoU most, until none does. The value is an upper bound of the lowest mean IoU.
    """
    _check_attacks(counts)
    attacks, images = counts.shape[:2]
    starts = [worst_pixel_accuracy(counts).choice]
    starts += [torch.full((images,), one, device=counts.device) for one in range(attacks)]
    found = [_lowered(counts, start) for start in starts]
    return min(found, key=lambda one: one.value)


def _lowered(counts: Tensor, choice: Tensor) -> WorstCase:
    """Choose anew for one image after the other, until no choice lowers the mean IoU."""
    choice, total = choice.clone(), _chosen(counts, choice).sum(0)
    best = mean_iou(total[None])
    for _ in range(ROUNDS):
        before = best
        for image in range(counts.shape[1]):
            others = total - counts[choice[image], image]
            values = _mean_ious(others + counts[:, image])
            lowest = int(values.argmin())
            if float(values[lowest]) < best:
                best, choice[image], total = float(values[lowest]), lowest, others + counts[lowest, image]
        if best == before:
            break
    return WorstCase(choice, best)


def _mean_ious(totals: Tensor) -> Tensor:
    """The mean IoU (A,) of each matrix (A, K, K)."""
    totals = totals.double()
    shared = totals.diagonal(dim1=1, dim2=2)
    return (shared / (totals.sum(1) + totals.sum(2) - shared)).nanmean(1)


def _chosen(counts: Tensor, choice: Tensor) -> Tensor:
    return counts[choice, torch.arange(len(choice), device=counts.device)]


def _total(counts: Tensor) -> Tensor:
    if counts.ndim != 3 or counts.shape[1] != counts.shape[2] or not bool(counts.sum() > 0):
        raise InputError(
            f"confusion matrices are (images, classes, classes) with a labelled pixel; got {tuple(counts.shape)}"
        )
    return counts.sum(0).double()


def _check_attacks(counts: Tensor) -> None:
    if counts.ndim != 4 or 0 in counts.shape:
        raise InputError(f"pass the matrices of several attacks, (attacks, images, K, K); got {tuple(counts.shape)}")
