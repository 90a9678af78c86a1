"""`sparring audit` of an object detector: annotations as COCO has them, goals vanish and mislabel."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sparring.cli.commands.audit import DETECTION_GOALS
from sparring.zoo.coco_data import GOALS

DETECTOR = '''
import torch
from torch import nn
from sparring.targets.object_detection import CenterNetHead, ObjectDetector
from sparring.zoo import LoadedModel


class Bright(nn.Module):
    """Finds an object of class 0 where a square of 8 pixels is bright, and of class 1 where it is red."""

    def forward(self, x):
        mean = nn.functional.avg_pool2d(x, 8)
        heat = torch.stack((20 * (mean.mean(1) - 0.6), 20 * (mean[:, 0] - mean[:, 2] - 0.4)), 1)
        return heat, torch.full_like(heat, 1.0)


def make():
    target = ObjectDetector(Bright(), CenterNetHead(8), name="bright")
    return LoadedModel("bright", target, None, ("lamp", "rose"), "here", None)


def nameless():
    return ObjectDetector(Bright(), CenterNetHead(8), name="bright")


def classifier():
    return nn.Sequential(nn.Flatten(), nn.Linear(3072, 2))
'''


@pytest.fixture
def given(tmp_path: Path) -> tuple[str, str]:
    """MODEL and DATA: a detector in a file, and three pictures with one bright square each."""
    (tmp_path / "detector.py").write_text(DETECTOR)
    images, annotations = [], []
    (tmp_path / "images").mkdir()
    for number in range(3):
        levels = np.full((32, 32, 3), 90, dtype=np.uint8)
        x, y = 8 * number, 8 * (2 - number)
        levels[y : y + 8, x : x + 8] = 180
        Image.fromarray(levels).save(tmp_path / "images" / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "width": 32, "height": 32})
        annotations.append({"image_id": number, "category_id": 4, "bbox": [x - 4, y - 4, 8, 8]})
    held = {"images": images, "annotations": annotations, "categories": [{"id": 4, "name": "lamp"}]}
    (tmp_path / "instances.json").write_text(json.dumps(held))
    return f"{tmp_path / 'detector.py'}:make", str(tmp_path / "instances.json")


def audit(typed: Any, given: tuple[str, str], out: Path, *words: object) -> Any:
    cheap = ("--threat", "linf:40/255", "--suite", "fgsm", "--accept", "weak-suite", "--size", "32")
    return typed("audit", *given, *cheap, "--out", out, *words)


def test_a_detector_of_ones_own_is_audited_on_annotated_pictures(typed: Any, given: Any, tmp_path: Path) -> None:
    assert DETECTION_GOALS == GOALS
    result = audit(typed, given, tmp_path / "run", "--goal", "vanish")
    assert result.exit_code == 0, result.stderr
    assert "What became of the objects" in result.stdout
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    (section,) = report["sections"]
    before, after = section["tables"][0]["rows"]
    assert before[:4] == ["before the attacks", 3, 1.0, 1.0]
    assert after[4][0] == 1.0  # all have disappeared
    (box, *_) = [one for one in section["strips"][0]["pictures"][0]["boxes"] if not one["dashed"]]
    assert box["label"].startswith("lamp 0.")


def test_what_does_not_fit_is_told_before_any_work(typed: Any, given: Any, tmp_path: Path) -> None:
    model, data = given
    for words, said in (
        ((model, "folder:x", "--goal", "vanish"), "no file of annotations"),
        ((model, data, "--goal", "vanis"), "Did you mean 'vanish'"),
        ((model, data, "--goal", "vanish", "--classes", "3"), "classes is of classifiers"),
        ((model.replace(":make", ":nameless"), data, "--goal", "vanish"), "which classes it knows"),
        ((model.replace(":make", ":classifier"), data, "--goal", "mislabel"), "no object detector"),
        ((model, data + "x.json", "--goal", "vanish"), "cannot be read as JSON"),
    ):
        result = typed("audit", *words, "--threat", "linf:4/255", "--out", tmp_path / "run")
        assert result.exit_code == 2, (words, result.stderr)
        assert said in " ".join(result.stderr.split()), (words, result.stderr)
        assert not (tmp_path / "run").exists()
