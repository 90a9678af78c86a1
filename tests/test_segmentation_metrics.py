"""Metrics of segmentation against sums written out, and the worst case against every choice there is."""

from __future__ import annotations

import itertools

import pytest
import torch

from sparring.errors import InputError
from sparring.segmentation_metrics import (
    class_iou,
    confusion,
    mean_iou,
    pixel_accuracy,
    worst_mean_iou,
    worst_pixel_accuracy,
)


def maps(seed: int, *shape: int, classes: int = 3) -> torch.Tensor:
    return torch.randint(classes, shape, generator=torch.Generator().manual_seed(seed))


def test_counts_pixel_by_pixel() -> None:
    labels, predictions = maps(0, 2, 5, 4), maps(1, 2, 5, 4)
    labels[0, 0, :3] = 255
    counts = confusion(predictions, labels, 4)
    for b, i, j in itertools.product(range(2), range(4), range(4)):
        assert int(counts[b, i, j]) == int(((labels[b] == i) & (predictions[b] == j)).sum())
    right = ((labels == predictions) & (labels != 255)).sum() / (labels != 255).sum()
    assert pixel_accuracy(counts) == pytest.approx(float(right))
    known = labels != 255
    for k in range(3):
        ours, theirs = (predictions == k) & known, labels == k
        assert float(class_iou(counts)[k]) == pytest.approx(float((ours & theirs).sum() / (ours | theirs).sum()))
    assert class_iou(counts)[3].isnan()  # a class that never occurs is none of the mean
    assert mean_iou(counts) == pytest.approx(float(class_iou(counts)[:3].mean()))


def test_the_worst_case_of_every_choice() -> None:
    labels = maps(2, 4, 6, 6)
    counts = torch.stack([confusion(maps(seed, 4, 6, 6), labels, 3) for seed in (3, 4, 5)])
    rows = torch.arange(4)
    every = [torch.tensor(choice) for choice in itertools.product(range(3), repeat=4)]
    lowest = min(mean_iou(counts[choice, rows]) for choice in every)
    accuracy = min(pixel_accuracy(counts[choice, rows]) for choice in every)
    found = worst_mean_iou(counts)
    assert found.value == pytest.approx(mean_iou(counts[found.choice, rows]))
    assert lowest - 1e-12 <= found.value <= lowest + 0.005
    assert found.value <= min(mean_iou(one) for one in counts)
    assert worst_pixel_accuracy(counts).value == pytest.approx(accuracy)


def test_what_is_no_segmentation_is_refused() -> None:
    labels = torch.zeros(1, 2, 2, dtype=torch.long)
    with pytest.raises(InputError, match="a label is class 7, and there are 3"):
        confusion(labels, labels + 7, 3)
    with pytest.raises(InputError, match="integers of one shape"):
        confusion(labels.float(), labels, 3)
    with pytest.raises(InputError, match="labelled pixel"):
        mean_iou(confusion(labels, labels + 255, 3))
    with pytest.raises(InputError, match="several attacks"):
        worst_mean_iou(confusion(labels, labels, 3))
