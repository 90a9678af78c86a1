"""Annotations as COCO has them: boxes move with their pictures, and a hostile file is refused with the reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from sparring.errors import ConfigError, InputError
from sparring.goals import Mislabel, Vanish
from sparring.zoo import CocoData

NAMES = ("person", "dog", "cat")


def file_of(folder: Path, **changes: Any) -> Path:
    """Two pictures: a wide one with a person and a dog, and a high one with a person; a cat nobody knows."""
    for name, size in (("wide.png", (40, 20)), ("high.png", (10, 20))):
        Image.new("RGB", size, (200, 100, 50)).save(folder / name)
    held: dict[str, Any] = {
        "images": [
            {"id": 7, "file_name": "wide.png", "width": 40, "height": 20},
            {"id": 8, "file_name": "high.png", "width": 10, "height": 20},
            {"id": 9, "file_name": "missing.png", "width": 10, "height": 20},
        ],
        "annotations": [
            {"image_id": 7, "category_id": 1, "bbox": [4, 2, 20, 10]},
            {"image_id": 7, "category_id": 5, "bbox": [10, 10, 4, 4.5]},
            {"image_id": 8, "category_id": 1, "bbox": [0, 0, 10, 20]},
            {"image_id": 9, "category_id": 1, "bbox": [0, 0, 1, 1]},
            {"image_id": 8, "category_id": 5, "bbox": [0, 0, 0, 20]},
            {"image_id": 8, "category_id": 5, "bbox": [0, 0, 9, 20], "iscrowd": 1},
            {"image_id": 8, "category_id": 6, "bbox": [0, 0, 9, 20]},
        ],
        "categories": [{"id": 1, "name": "person"}, {"id": 5, "name": "dog"}, {"id": 6, "name": "unicorn"}],
    }
    path = folder / "instances.json"
    path.write_text(json.dumps(held | changes))
    return path


def test_boxes_move_with_their_pictures(tmp_path: Path) -> None:
    data = CocoData(file_of(tmp_path), None, NAMES, size=20, score_threshold=0.3)
    (chunk,) = data.chunks(8)
    assert [skip.name for skip in data.skipped] == ["missing.png"]
    assert chunk.names == ["wide.png", "high.png"]
    assert chunk.images.shape == (2, 3, 20, 20)
    assert isinstance(chunk.goal, Vanish)
    assert chunk.goal.score_threshold == 0.3
    assert chunk.goal.boxes[0].tolist() == [[2, 6, 12, 11], [5, 10, 7, pytest.approx(12.25)]]  # halved, five gray rows
    assert chunk.goal.boxes[1, 0].tolist() == [5, 0, 15, 20]
    assert bool(chunk.goal.boxes[1, 1].isnan().all())
    assert chunk.goal.classes is not None
    assert chunk.goal.classes[0].tolist() == [0, 1]
    colour = torch.tensor([200, 100, 50]) / 255
    assert torch.allclose(chunk.images[0, :, 5:15], colour[:, None, None].expand(3, 10, 20), atol=1e-6)
    assert torch.allclose(chunk.images[0, :, :5], torch.tensor(114 / 255))
    assert "1 crowds, 1 boxes without area" in data.label_note
    assert "1 objects of other classes" in data.label_note
    (whole,) = CocoData(file_of(tmp_path), tmp_path, NAMES, "mislabel", size=20).chunks(8)
    assert isinstance(whole.goal, Mislabel)
    assert whole.goal.boxes[0].tolist() == [2, 6, 12, 11]  # the largest
    (dogs,) = CocoData(file_of(tmp_path), tmp_path, NAMES, attacked=("dog",), size=20).chunks(8)
    assert dogs.names == ["wide.png"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"images": {}}, "no list 'images'"),
        ({"images": [{"id": 1, "file_name": 3, "width": 1, "height": 1}]}, r"images\[0\] has no file_name \(str\)"),
        ({"images": [{"id": True, "file_name": "a", "width": 1, "height": 1}]}, r"images\[0\] has no id"),
        ({"annotations": [{"image_id": 7, "category_id": 1, "bbox": [0, 0, 1]}]}, r"annotations\[0\] has bbox"),
        ({"annotations": [{"image_id": 7, "category_id": 1, "bbox": [0, 0, 1, float("nan")]}]}, "has bbox"),
        ({"annotations": [{"image_id": 7, "category_id": 1, "bbox": [0, 0, 1e300, 2]}]}, "has bbox"),
        (
            {"annotations": [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 2]}]},
            "of image 1, which the file lacks",
        ),
        (
            {"annotations": [{"image_id": 7, "category_id": 2, "bbox": [0, 0, 1, 2]}]},
            "category 2, which the file lacks",
        ),
        ({"annotations": []}, "no picture with an object"),
        ({"categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}, "two categories have the same id"),
        ({"annotations": [{"image_id": 7, "category_id": 1, "bbox": [0, 0, 1, 2]}] * 1001}, "has 1001 objects"),
    ],
)
def test_a_file_that_is_none_is_refused(changes: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=told):
        CocoData(file_of(tmp_path, **changes), None, NAMES)


def test_paths_and_sizes_that_are_not_right_are_left_out(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    names = ("../wide.png", "/etc/hostname", "other.png", "wide.png")
    images = [{"id": place, "file_name": name, "width": 40, "height": 20} for place, name in enumerate(names)]
    rows = [{"image_id": place, "category_id": 1, "bbox": [0, 0, 9, 9]} for place in range(4)]
    path = file_of(inside, images=images, annotations=rows)
    Image.new("RGB", (40, 20)).save(tmp_path / "wide.png")
    Image.new("RGB", (30, 20)).save(inside / "other.png")
    data = CocoData(path, None, NAMES, size=20)
    (chunk,) = data.chunks(4)
    assert chunk.names == ["wide.png"]
    reasons = [skip.reason for skip in data.skipped]
    assert reasons[0] == reasons[1] == "its path leaves the folder of the pictures"
    assert reasons[2] == "it has 30 x 20 pixels, and the annotations are those of 40 x 20"


def test_wrong_settings(tmp_path: Path) -> None:
    path = file_of(tmp_path)
    for wrong in ({"goal": "hide"}, {"attacked": ("wolf",)}, {"size": 0}):
        with pytest.raises(ConfigError):
            CocoData(path, None, NAMES, **wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="is no folder"):
        CocoData(path, tmp_path / "nowhere", NAMES)
    (tmp_path / "broken.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match="cannot be read as JSON"):
        CocoData(tmp_path / "broken.json", None, NAMES)
