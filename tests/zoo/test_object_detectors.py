"""The zoo's object detectors: decoded as their own graphs do it, and persons found in photographs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from sparring import zoo
from sparring.targets import ObjectDetector
from sparring.zoo.coco_classes import COCO_CLASSES
from sparring.zoo.object_detectors import NANODET_BINS, NANODET_MEAN, NANODET_SIZE, NANODET_STD
from sparring.zoo.tfjs import load_graph_model

Asset = Callable[[str], Path]


def photograph(folder: Path, name: str) -> Tensor:
    with Image.open(folder / name) as opened:
        return torch.from_numpy(np.array(opened.convert("RGB"))).permute(2, 0, 1)[None].float() / 255


def detector(name: str) -> ObjectDetector:
    loaded = zoo.load_model(f"zoo:{name}")
    assert loaded.class_names == COCO_CLASSES
    assert (len(COCO_CLASSES), COCO_CLASSES[0], COCO_CLASSES[79]) == (80, "person", "toothbrush")
    assert isinstance(loaded.target, ObjectDetector)
    return loaded.target


def test_centernet_is_decoded_as_its_own_graph_does(asset: Asset) -> None:
    """The graph's own last nodes: peaks of 3 x 3, the 100 highest of all classes, their boxes."""
    image = photograph(asset("photos"), "astronaut.png")
    graph = load_graph_model(asset("human") / "centernet.json", ["tower_0/detections"])
    target = detector("centernet")
    with torch.no_grad():
        theirs = graph(image.permute(0, 2, 3, 1) * 255)[0][0]
        outputs = target.predict(image)
    task = replace(target.task, multi_label=True, iou_threshold=0.9999, score_threshold=1e-6)
    ours = task.decode(outputs)
    assert ours.scores is not None
    sure = theirs[:, 4] > 0.02  # of nearly equal scores the order is that of rounding
    count = int(sure.sum())
    assert count > 20
    torch.testing.assert_close(ours.scores[0, :count], theirs[sure, 4], rtol=0, atol=1e-5)
    torch.testing.assert_close(ours.boxes[0, :count], theirs[sure, :4], rtol=0, atol=1e-2)
    assert torch.equal(ours.classes[0, :count], theirs[sure, 5].long())


def test_nanodet_is_decoded_as_its_paper_does(asset: Asset) -> None:
    """Scores by the graph's own sigmoid, boxes as expectations over distances, of one anchor in a hundred."""
    image = photograph(asset("photos"), "astronaut.png")
    names = ["PartitionedCall/onnx_tf_prefix_Sigmoid_154", "PartitionedCall/onnx_tf_prefix_Split_153:1"]
    graph = load_graph_model(asset("human-models") / "nanodet.json", names)
    small = torch.nn.functional.interpolate(image, (NANODET_SIZE, NANODET_SIZE), mode="bilinear", antialias=True)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (NANODET_MEAN, NANODET_STD))
    with torch.no_grad():
        scores, sides = graph(((small - mean) / std).flip(1))
    found = detector("nanodet").predict(image)
    width = NANODET_SIZE // 8
    for place in range(0, width * width, 100):
        row, column = divmod(place, width)
        torch.testing.assert_close(found.logits[0, place].sigmoid(), scores[0, :, row, column], rtol=0, atol=1e-5)
        chances = sides[0, :, row, column].view(4, NANODET_BINS).softmax(1)
        left, top, right, bottom = (8 * float((one * torch.arange(11)).sum()) for one in chances)
        x, y = 8 * (column + 0.5), 8 * (row + 0.5)
        wanted = [side * 512 / NANODET_SIZE for side in (x - left, y - top, x + right, y + bottom)]
        assert found.boxes[0, place].tolist() == pytest.approx(wanted, abs=0.02)


@pytest.mark.parametrize(("name", "package"), [("centernet", "human"), ("nanodet", "human-models")])
def test_persons_are_found_in_photographs(name: str, package: str, asset: Asset) -> None:
    photos, _ = asset("photos"), asset(package)
    target = detector(name)
    truth = {"astronaut.png": [15, 14, 364, 511], "camera.png": [6, 62, 290, 511]}  # by eye
    for file, box in truth.items():
        image = photograph(photos, file)
        answer = target.detect(image).of_class(0)
        assert answer.counts().tolist() == [1]
        assert answer.boxes[0][answer.present[0]][0].tolist() == pytest.approx(box, abs=40)
    smaller = torch.nn.functional.interpolate(image, (256, 320), mode="bilinear", antialias=True)
    again = target.detect(smaller).of_class(0)
    scale = torch.tensor([320, 256, 320, 256]) / 512
    assert again.boxes[0, 0].tolist() == pytest.approx((torch.tensor(truth["camera.png"]) * scale).tolist(), abs=40)
