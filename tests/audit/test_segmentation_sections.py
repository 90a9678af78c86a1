"""What an audit of a segmenter says of its pixels, against the examples themselves."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import sparring as sp
from sparring.audit import Report
from sparring.goals import MisclassifyPixels
from sparring.segmentation_metrics import class_iou, confusion, mean_iou, pixel_accuracy
from sparring.testing import segmenter


def test_pixels_of_a_segmenter_are_counted_over_all_images(tmp_path: Path) -> None:
    case, eps = segmenter(6), 0.1
    labels = case.goal.labels  # type: ignore[attr-defined]
    goal = MisclassifyPixels(labels, 1.0, margin_in="parts")
    attack = sp.attacks.SegPGD(sp.Linf(eps), steps=4)
    report: Report = sp.audit(
        case.target, [(case.images, goal)], threats=[f"linf:{eps}"], suite=[attack], out=tmp_path / "run", batch_size=6
    )
    (section,) = report.sections
    whole, by_class = section.tables
    classes = case.target.predict(case.images).shape[1]
    kept = sp.run(attack, case.target, goal, case.images, keep=sp.Keep.HIGHEST_MARGIN).examples
    for row, column, images in ((0, 1, case.images), (1, 2, kept)):
        counts = confusion(case.target.predict(images).argmax(1), labels, classes)
        assert whole.rows[row][1:] == pytest.approx([pixel_accuracy(counts), mean_iou(counts)])
        found = torch.tensor([float(one[column]) for one in by_class.rows])
        assert torch.allclose(found, class_iou(counts)[~class_iou(counts).isnan()].float())
    assert whole.rows[1][1] < whole.rows[0][1]
    assert [column.name for column in by_class.columns] == ["class", "none", f"Linf {eps}"]
