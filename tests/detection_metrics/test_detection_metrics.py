"""Average precision agrees with a computation by loops, and rates with counts by hand."""

from __future__ import annotations

import math
import random

import pytest
import torch

from sparring.detection_metrics import COCO_THRESHOLDS, average_precision, consecutive_misses, detection_rates
from sparring.errors import ConfigError, InputError
from sparring.tasks import Objects, objects_of

Row = list[tuple[list[float], int, float]]


def iou(a: list[float], b: list[float]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def by_loops(found: list[Row], truth: list[Row], kind: int, level: float, interpolation: str) -> float:
    """Average precision of one class, as the papers describe it."""
    hits: list[tuple[float, bool]] = []
    total = 0
    for answer, objects in zip(found, truth, strict=True):
        left = [box for box, label, _ in objects if label == kind]
        total += len(left)
        for box, label, score in sorted(answer, key=lambda one: -one[2]):
            if label != kind:
                continue
            best = max(left, key=lambda other: iou(box, other), default=None)
            matched = best is not None and iou(box, best) >= level
            if matched:
                left.remove(best)
            hits.append((score, matched))
    hits.sort(key=lambda one: -one[0])
    recalls, precisions, right = [], [], 0
    for rank, (_, matched) in enumerate(hits, 1):
        right += matched
        recalls.append(right / total)
        precisions.append(right / rank)
    best_from = [max(precisions[place:]) for place in range(len(precisions))]

    def at(recall: float) -> float:
        return next((p for r, p in zip(recalls, best_from, strict=True) if r >= recall), 0.0)

    if interpolation == "voc":
        return sum((r - before) * p for before, r, p in zip([0.0, *recalls], recalls, best_from, strict=False))
    count, step = (101, 0.01) if interpolation == "coco" else (11, 0.1)
    return sum(at(min(place * step, 1.0)) for place in range(count)) / count


def scene(seed: int, images: int = 9) -> tuple[list[Row], list[Row]]:
    """Objects of three classes in images, and answers near them and elsewhere."""
    draw = random.Random(seed)
    found: list[Row] = []
    truth: list[Row] = []
    for _ in range(images):
        objects: Row = []
        for _ in range(draw.randint(0, 5)):
            x, y, w, h = draw.uniform(0, 60), draw.uniform(0, 60), draw.uniform(8, 40), draw.uniform(8, 40)
            objects.append(([x, y, x + w, y + h], draw.randint(0, 2), 1.0))
        answer: Row = []
        for box, label, _ in objects:
            for _ in range(draw.randint(0, 3)):
                near = [side + draw.uniform(-5, 5) for side in box]
                answer.append((near, label if draw.random() < 0.8 else draw.randint(0, 2), draw.random()))
        for _ in range(draw.randint(0, 3)):
            x, y = draw.uniform(0, 60), draw.uniform(0, 60)
            answer.append(([x, y, x + 20, y + 20], draw.randint(0, 2), draw.random()))
        found.append(answer)
        truth.append(objects)
    return found, truth


def objects(rows: list[Row], scored: bool = False) -> Objects:
    boxes = [torch.tensor([box for box, _, _ in row], dtype=torch.float64).reshape(-1, 4) for row in rows]
    classes = [torch.tensor([label for _, label, _ in row], dtype=torch.long) for row in rows]
    scores = [torch.tensor([score for _, _, score in row], dtype=torch.float64) for row in rows]
    return objects_of(boxes, classes, scores if scored else None)


@pytest.mark.parametrize("interpolation", ["coco", "voc", "voc2007"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_average_precision_is_that_of_loops(seed: int, interpolation: str) -> None:
    found, truth = scene(seed)
    measured = average_precision(objects(found, True), objects(truth), interpolation=interpolation)  # type: ignore[arg-type]
    assert measured.iou_thresholds == COCO_THRESHOLDS
    wanted = [[by_loops(found, truth, kind, level, interpolation) for level in COCO_THRESHOLDS] for kind in range(3)]
    torch.testing.assert_close(measured.values, torch.tensor(wanted, dtype=torch.float64), rtol=0, atol=1e-12)
    assert measured.mean == pytest.approx(sum(map(sum, wanted)) / 30)
    assert measured.at(0.5) == pytest.approx(sum(row[0] for row in wanted) / 3)


def test_average_precision_is_that_of_pycocotools() -> None:
    coco_module = pytest.importorskip("pycocotools.coco")
    from pycocotools.cocoeval import COCOeval

    found, truth = scene(3)
    annotations, answers = [], []
    for image, (answer, rows) in enumerate(zip(found, truth, strict=True), 1):
        for box, label, _ in rows:
            sides = [box[0], box[1], box[2] - box[0], box[3] - box[1]]
            entry = {"image_id": image, "category_id": label, "bbox": sides, "area": sides[2] * sides[3]}
            annotations.append({**entry, "id": len(annotations) + 1, "iscrowd": int(len(annotations) % 7 == 3)})
        for box, label, score in answer:
            sides = [box[0], box[1], box[2] - box[0], box[3] - box[1]]
            answers.append({"image_id": image, "category_id": label, "bbox": sides, "score": score})
    theirs = coco_module.COCO()
    theirs.dataset = {
        "info": {},
        "images": [{"id": image} for image in range(1, len(found) + 1)],
        "annotations": annotations,
        "categories": [{"id": kind} for kind in range(3)],
    }
    theirs.createIndex()
    judged = COCOeval(theirs, theirs.loadRes(answers), "bbox")
    judged.evaluate()
    judged.accumulate()
    wanted = judged.eval["precision"][:, :, :, 0, 2].mean(1).T  # classes, thresholds
    crowd = [torch.zeros(len(rows), dtype=torch.bool) for rows in truth]
    flags = iter(one["iscrowd"] == 1 for one in annotations)
    for row in crowd:
        for place in range(len(row)):
            row[place] = next(flags)
    given = objects(truth)
    filled = torch.stack(
        [torch.cat((row, torch.zeros(given.boxes.shape[1] - len(row), dtype=torch.bool))) for row in crowd]
    )
    marked = Objects(given.boxes, given.classes, given.present, crowd=filled)
    measured = average_precision(objects(found, True), marked)
    torch.testing.assert_close(measured.values, torch.from_numpy(wanted), rtol=0, atol=1e-9)


TRUTH = objects([[([0, 0, 10, 10], 0, 1), ([20, 20, 30, 30], 1, 1), ([40, 40, 50, 50], 1, 1)], []])
FOUND = objects(
    [
        [([0, 0, 10, 9], 0, 0.9), ([20, 20, 30, 30], 0, 0.8), ([0, 0, 10, 10], 1, 0.7), ([60, 60, 70, 70], 0, 0.4)],
        [([1, 1, 5, 5], 2, 0.6)],
    ],
    True,
)


def test_rates_by_hand() -> None:
    (sure,) = detection_rates(FOUND, TRUTH, (0.5,), (0.5,))
    assert (sure.objects, sure.found, sure.mislabelled, sure.disappeared) == (3, 1, 1, 1)
    assert (sure.images, sure.hallucinated) == (2, 1)
    assert sure.disappearance_rate == sure.mislabel_rate == pytest.approx(1 / 3)
    assert sure.hallucinations_per_image == 0.5
    low, high = sure.disappearance_interval()
    assert 0 < low < 1 / 3 < high < 1
    made = detection_rates(FOUND, TRUTH, (0.5, 0.95), (0.3, 0.85))
    assert [(one.found, one.mislabelled, one.disappeared, one.hallucinated) for one in made] == [
        (1, 1, 1, 2),
        (1, 0, 2, 0),
        (0, 2, 1, 3),
        (0, 0, 3, 1),
    ]


def test_misses_in_runs_of_frames_by_hand() -> None:
    missed = torch.tensor([True, True, False, True, True, True])
    assert [consecutive_misses(missed, length) for length in (1, 2, 3, 4)] == [5 / 6, 3 / 5, 1 / 4, 0]
    both = torch.stack((missed, torch.zeros(6, dtype=torch.bool)), 1)
    assert consecutive_misses(both, 2) == 3 / 10
    with pytest.raises(InputError, match="of 6 frames"):
        consecutive_misses(missed, 7)


def test_what_has_no_precision_is_refused() -> None:
    assert math.isnan(average_precision(FOUND, TRUTH.of_class(7)).mean)
    with pytest.raises(InputError, match="scores"):
        average_precision(TRUTH, TRUTH)
    with pytest.raises(InputError, match="2 images, and 1"):
        average_precision(FOUND, objects([[]]))
    with pytest.raises(ConfigError, match="voc2007"):
        average_precision(FOUND, TRUTH, interpolation="best")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="iou_thresholds"):
        average_precision(FOUND, TRUTH, (0.0,))
    with pytest.raises(ConfigError, match="not computed"):
        average_precision(FOUND, TRUTH, (0.5,)).at(0.75)
