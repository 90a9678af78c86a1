"""Heads of detectors: read as the papers say, by loops; small nets of each are targets and can be attacked."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sparring as sp
from sparring import testing
from sparring.attacks import PGD
from sparring.errors import ConfigError, GoalError, TargetError
from sparring.goals import Vanish
from sparring.targets.object_detection import (
    AnchorHead,
    CenterNetHead,
    DETRHead,
    DistributionHead,
    FCOSHead,
    Head,
    ListHead,
    ObjectDetector,
    YOLOHead,
)
from sparring.targets.object_detection.head import log_odds, log_odds_of_product, log_odds_of_root
from sparring.tasks import Detection, Detections, box_iou, suppress_non_maxima
from sparring.testing.cases import draw, filled

ANCHORS = [[[6.0, 9.0], [12.0, 5.0]], [[16.0, 20.0], [24.0, 12.0]]]
BOXES = [[2.0 + 4 * (k % 3), 3.0 + 5 * (k // 3), 12.0 + 4 * (k % 3), 11.0 + 5 * (k // 3)] for k in range(6)]


def sigmoid(value: Any) -> float:
    return 1 / (1 + math.exp(-float(value)))


def test_suppression_is_that_of_a_greedy_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    corner = 20 * draw("corner", (5, 40, 2)).sigmoid()
    boxes = torch.cat((corner, corner + 3 + 9 * draw("side", (5, 40, 2)).sigmoid()), dim=2)
    scores, classes = draw("scores", (5, 40)).sigmoid(), (draw("classes", (5, 40)) > 0).long()
    present = draw("present", (5, 40)) > -1
    scores[:, 7] = scores[:, 3]  # ties
    monkeypatch.setattr("sparring.detection_metrics.boxes.PAIRS", 3200)  # two images at a time
    for threshold in (0.2, 0.5, 0.8):
        for kinds in (classes, None):
            kept = suppress_non_maxima(boxes, scores, kinds, threshold, present)
            for row in range(5):
                left = sorted(
                    (place for place in range(40) if present[row, place]), key=lambda place: -scores[row, place]
                )
                wanted = []
                while left:
                    best = left.pop(0)
                    wanted.append(best)
                    overlap = box_iou(boxes[row, best][None], boxes[row])[0]
                    same = torch.ones(40).bool() if kinds is None else kinds[row] == kinds[row, best]
                    left = [place for place in left if not (overlap[place] > threshold and same[place])]
                assert sorted(wanted) == kept[row].nonzero()[:, 0].tolist()


def test_log_odds_are_exact_where_a_class_is_nearly_certain() -> None:
    logits = torch.tensor([[100.0, 0.0, -3.0], [0.5, 0.4, 0.3]], dtype=torch.float64, requires_grad=True)
    odds = log_odds(logits)
    assert odds[0].tolist() == pytest.approx([100 - math.log(1 + math.exp(-3)), -100, -103])
    p = logits[1].softmax(0)
    assert odds[1].tolist() == pytest.approx((p.log() - (1 - p).log()).tolist())
    assert torch.autograd.grad(odds.sum(), logits)[0].isfinite().all()
    first, second = draw("first", (50,)) * 3, draw("second", (50,)) * 3
    assert torch.allclose(log_odds_of_product(first, second).sigmoid(), first.sigmoid() * second.sigmoid())
    assert torch.allclose(log_odds_of_root(first).sigmoid(), first.sigmoid().sqrt())
    far = torch.tensor([80.0, -80.0], dtype=torch.float32)
    assert log_odds_of_product(far[:1], far[1:]).item() == pytest.approx(-80)


@pytest.mark.parametrize("version", [3, 5])
def test_yolo_with_objectness_by_loops(version: int) -> None:
    maps = [draw("a", (1, 2, 2, 3, 8)), draw("b", (1, 2, 1, 2, 8))]
    head = YOLOHead(ANCHORS, (8, 16), version).double()
    found = head(maps, (16, 24))
    place = 0
    for map_, stride, anchors in zip(maps, (8, 16), ANCHORS, strict=True):
        for anchor in range(2):
            for row in range(map_.shape[2]):
                for column in range(map_.shape[3]):
                    t = map_[0, anchor, row, column]
                    if version == 3:
                        x, y = (sigmoid(t[0]) + column) * stride, (sigmoid(t[1]) + row) * stride
                        w, h = (anchors[anchor][k] * math.exp(float(t[2 + k])) for k in (0, 1))
                    else:
                        x, y = (2 * sigmoid(t[0]) - 0.5 + column) * stride, (2 * sigmoid(t[1]) - 0.5 + row) * stride
                        w, h = (anchors[anchor][k] * (2 * sigmoid(t[2 + k])) ** 2 for k in (0, 1))
                    box = [x - w / 2, y - h / 2, x + w / 2, y + h / 2]
                    assert found.boxes[0, place].tolist() == pytest.approx(box)
                    scores = [sigmoid(t[4]) * sigmoid(one) for one in t[5:]]
                    assert found.logits[0, place].sigmoid().tolist() == pytest.approx(scores)
                    place += 1
    assert found.present.shape == (1, place)
    flat = [one.permute(0, 1, 4, 2, 3).flatten(1, 2) for one in maps]  # as the last convolution gives them
    decoded = torch.zeros(1, place, 8)
    for raw in (flat, (decoded, maps)):
        assert torch.equal(head(raw, (16, 24)).logits, found.logits)


@pytest.mark.parametrize("classes_first", [False, True])
def test_distributions_by_loops(classes_first: bool) -> None:
    bins, kinds = 4, 3
    maps = [draw("a", (1, 4 * bins + kinds, 2, 3)), draw("b", (1, 4 * bins + kinds, 1, 2))]
    head = DistributionHead((8, 16), bins, classes_first)
    found = head(maps, (16, 24))
    place = 0
    for map_, stride in zip(maps, (8, 16), strict=True):
        for row in range(map_.shape[2]):
            for column in range(map_.shape[3]):
                t = map_[0, :, row, column]
                logits, sides = (t[:kinds], t[kinds:]) if classes_first else (t[4 * bins :], t[: 4 * bins])
                reach = [
                    stride * sum(k * float(p) for k, p in enumerate(sides[side * bins : side * bins + bins].softmax(0)))
                    for side in range(4)
                ]
                x, y = (column + 0.5) * stride, (row + 0.5) * stride
                box = [x - reach[0], y - reach[1], x + reach[2], y + reach[3]]
                assert found.boxes[0, place].tolist() == pytest.approx(box)
                assert torch.equal(found.logits[0, place], logits)
                place += 1
    assert found.objectness is None
    decoded = torch.zeros(1, 4 + kinds, place)
    split = 4 * bins if not classes_first else kinds
    parts = [
        torch.cat([map_.flatten(2).split(split, 1)[k] if k == 0 else map_[:, split:].flatten(2) for map_ in maps], 2)
        for k in (0, 1)
    ]
    boxes, scores = parts if not classes_first else parts[::-1]
    for raw in ((decoded, maps), {"one2many": [], "one2one": maps}, (decoded, {"boxes": boxes, "scores": scores})):
        assert torch.equal(head(raw, (16, 24)).boxes, found.boxes)


def test_anchor_boxes_by_loops() -> None:
    logits, offsets = draw("logits", (2, 6, 4)), draw("offsets", (2, 6, 4)) / 3
    for softmax, weights in ((False, (1.0, 1.0, 1.0, 1.0)), (True, (10.0, 10.0, 5.0, 5.0))):
        found = AnchorHead(BOXES, weights, softmax).double()(
            {"cls_logits": logits, "bbox_regression": offsets}, (32, 32)
        )
        for row in range(2):
            for place, (x1, y1, x2, y2) in enumerate(BOXES):
                dx, dy, dw, dh = (float(one) / w for one, w in zip(offsets[row, place], weights, strict=True))
                x, y = (x1 + x2) / 2 + dx * (x2 - x1), (y1 + y2) / 2 + dy * (y2 - y1)
                w, h = (x2 - x1) * math.exp(dw), (y2 - y1) * math.exp(dh)
                assert found.boxes[row, place].tolist() == pytest.approx([x - w / 2, y - h / 2, x + w / 2, y + h / 2])
        wanted = logits.softmax(2)[..., 1:] if softmax else logits.sigmoid()
        assert torch.allclose(found.logits.sigmoid(), wanted)


def test_fcos_by_loops() -> None:
    raw = {
        "cls_logits": draw("c", (1, 8, 3)),
        "bbox_regression": draw("b", (1, 8, 4)),
        "bbox_ctrness": draw("m", (1, 8, 1)),
    }
    found = FCOSHead((8, 16))(raw, (16, 24))  # 2 x 3 and 1 x 2 places
    points = [(8 * (k % 3) + 4, 8 * (k // 3) + 4, 8) for k in range(6)] + [(8, 8, 16), (24, 8, 16)]
    for place, (x, y, stride) in enumerate(points):
        left, top, right, bottom = (stride * max(float(one), 0) for one in raw["bbox_regression"][0, place])
        assert found.boxes[0, place].tolist() == pytest.approx([x - left, y - top, x + right, y + bottom])
        scores = [
            math.sqrt(sigmoid(one) * sigmoid(raw["bbox_ctrness"][0, place])) for one in raw["cls_logits"][0, place]
        ]
        assert found.logits[0, place].sigmoid().tolist() == pytest.approx(scores)


def test_centernet_decodes_peaks() -> None:
    heat, sizes, offsets = (
        draw("heat", (2, 2, 4, 5)),
        draw("size", (2, 2, 4, 5)).exp(),
        draw("at", (2, 2, 4, 5)).sigmoid(),
    )
    found = CenterNetHead(4)((heat, sizes, offsets), (16, 20))
    settings: dict[str, Any] = {"iou_threshold": 0.999, "multi_label": True, "score_threshold": 0.4, "grid_columns": 5}
    answer = Detection(**settings).decode(found)
    for row in range(2):
        wanted = []
        for kind in range(2):
            for y in range(4):
                for x in range(5):
                    around = heat[row, kind, max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
                    score = sigmoid(heat[row, kind, y, x])
                    if heat[row, kind, y, x] == around.max() and score >= 0.4:
                        cx, cy = (x + float(offsets[row, 0, y, x])) * 4, (y + float(offsets[row, 1, y, x])) * 4
                        w, h = (4 * float(one) for one in sizes[row, :, y, x])
                        wanted.append((score, kind, [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]))
        wanted.sort(key=lambda one: -one[0])
        there = answer.present[row]
        assert answer.scores is not None
        assert answer.scores[row][there].tolist() == pytest.approx([one[0] for one in wanted])
        assert answer.classes[row][there].tolist() == [one[1] for one in wanted]
        assert answer.boxes[row][there].flatten().tolist() == pytest.approx([side for one in wanted for side in one[2]])


def test_detr_by_hand() -> None:
    raw = {"pred_logits": draw("l", (2, 3, 5)), "pred_boxes": draw("b", (2, 3, 4)).sigmoid() / 2}
    found = DETRHead()(raw, (20, 40))
    assert torch.allclose(found.logits.sigmoid(), raw["pred_logits"].softmax(2)[..., :4])
    x, y, w, h = raw["pred_boxes"][1, 2].tolist()
    assert found.boxes[1, 2].tolist() == pytest.approx(
        [40 * (x - w / 2), 20 * (y - h / 2), 40 * (x + w / 2), 20 * (y + h / 2)]
    )


class Net(nn.Module):
    """Images (B, 3, 16, 24) -> what a head reads, made of a small convolutional net."""

    def __init__(self, sizes: list[int], read: Callable[[list[Tensor]], Any]) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 12, 8, stride=8), nn.Tanh())
        self.maps = nn.ModuleList(nn.Conv2d(12, size, 1) for size in sizes)
        self.read = read

    def forward(self, images: Tensor) -> Any:
        features = self.stem(4 * (images - 0.5))
        return self.read([map_(features) for map_ in self.maps])


def rows(map_: Tensor, width: int) -> Tensor:
    """A map (B, A * width, h, w) as rows (B, N, width)."""
    return map_.unflatten(1, (-1, width)).permute(0, 3, 4, 1, 2).flatten(1, 3)


SMALL: dict[str, tuple[Callable[[], Head], list[int], Callable[[list[Tensor]], Any]]] = {
    "yolo": (lambda: YOLOHead(ANCHORS[:1], (8,)), [2 * 7], lambda maps: maps),
    "yolo3": (lambda: YOLOHead(ANCHORS[:1], (8,), 3), [2 * 7], lambda maps: maps),
    "yolo8": (lambda: DistributionHead((8,), 4), [4 * 4 + 2], lambda maps: (torch.zeros(1), maps)),
    "retinanet": (
        lambda: AnchorHead(BOXES),
        [2, 4],
        lambda maps: {"cls_logits": rows(maps[0], 2), "bbox_regression": rows(maps[1], 4)},
    ),
    "ssd": (
        lambda: AnchorHead(BOXES, (10, 10, 5, 5), softmax=True),
        [3, 4],
        lambda maps: (rows(maps[0], 3), rows(maps[1], 4)),
    ),
    "fcos": (
        lambda: FCOSHead((8,)),
        [2, 4, 1],
        lambda maps: {
            name: rows(map_, size)
            for name, map_, size in zip(("cls_logits", "bbox_regression", "bbox_ctrness"), maps, (2, 4, 1), strict=True)
        },
    ),
    "centernet": (lambda: CenterNetHead(8), [2, 2, 2], lambda maps: (maps[0], maps[1].exp(), maps[2])),
    "detr": (
        lambda: DETRHead(),
        [3, 4],
        lambda maps: {"pred_logits": rows(maps[0], 3), "pred_boxes": rows(maps[1], 4).sigmoid()},
    ),
}
IMAGES = 0.5 + 0.15 * draw("images", (3, 3, 16, 24)).clamp(-2.5, 2.5)


@pytest.mark.parametrize("kind", SMALL)
def test_small_nets_of_each_head_are_targets_and_lose_their_objects(kind: str) -> None:
    make, sizes, read = SMALL[kind]
    target = ObjectDetector(filled(Net(sizes, read).double(), kind), make().double(), score_threshold=0.2)  # type: ignore[arg-type]
    testing.check_target(target, IMAGES)
    found = target.detect(IMAGES)
    assert found.source == "detections"
    assert bool((found.counts() > 0).all())
    surest = found.boxes[:, 0]
    goal = Vanish(surest, classes=found.classes[:, 0], score_threshold=0.2)
    outcome = sp.run(PGD(sp.Linf(0.5), steps=60), target, goal, IMAGES)
    assert outcome.success.all()
    after = target.detect(outcome.examples)
    near = (box_iou(after.boxes, surest[:, None])[:, :, 0] >= 0.3) & after.present
    assert not bool((near & (after.classes == found.classes[:, :1])).any())


def test_images_are_fitted_and_boxes_brought_back() -> None:
    class Echo(nn.Module):
        """Finds one object whose box is the brightest quarter of a map of 8 x 8."""

        def forward(self, x: Tensor) -> Any:
            self.seen = x
            return {
                "pred_logits": x.mean().reshape(1, 1, 1) * x.new_tensor([[[1.0, 0.0]]]),
                "pred_boxes": x.new_tensor([[[0.5, 0.5, 0.5, 0.25]]]) + 0 * x.mean(),
            }

    image = torch.rand(1, 3, 30, 60)
    net = Echo()
    found = ObjectDetector(net, DETRHead(), 64).predict(image)
    assert net.seen.shape == (1, 3, 64, 64)
    assert found.boxes[0, 0].tolist() == pytest.approx([15, 30 * 0.375, 45, 30 * 0.625])
    found = ObjectDetector(net, DETRHead(), 64, letterbox=True, scale=255, bgr=True).predict(image)
    assert net.seen[0, :, :16].unique().tolist() == pytest.approx([114.0])
    assert torch.equal(net.seen[0, :, :16], net.seen[0, :, -16:])
    ratio = 64 / 60
    assert found.boxes[0, 0].tolist() == pytest.approx(
        [16 / ratio, (24 - 16) / ratio, 48 / ratio, (40 - 16) / ratio], rel=1e-5
    )
    exact = ObjectDetector(net, DETRHead(), mean=(0.5, 0.4, 0.3), std=(0.1, 0.2, 0.3), bgr=True)
    exact.predict(image)
    wanted = ((image - torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1)) / torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1)).flip(
        1
    )
    torch.testing.assert_close(net.seen, wanted)


class RoIHeads(nn.Module):
    """Where torchvision's Faster R-CNN keeps its thresholds."""

    def __init__(self) -> None:
        super().__init__()
        self.score_thresh, self.nms_thresh, self.detections_per_img = 0.6, 0.3, 2


class FasterRCNN(nn.Module):
    """A stand-in with torchvision's signature: a list of images -> a list of dicts, after threshold and suppression."""

    def __init__(self) -> None:
        super().__init__()
        self.roi_heads = RoIHeads()
        self.net = filled(Net([3, 4], lambda maps: maps), "rcnn")
        self.asked: list[tuple[float, float, int]] = []

    def forward(self, images: list[Tensor]) -> Any:
        assert not self.training
        settings = self.roi_heads
        self.asked.append((settings.score_thresh, settings.nms_thresh, settings.detections_per_img))
        logits, sides = self.net(torch.stack(images))
        scores, boxes = rows(logits, 3).softmax(2), rows(sides, 4).sigmoid() * 10
        boxes = torch.cat((boxes[..., :2], boxes[..., :2] + boxes[..., 2:] + 2), dim=2)
        answers = []
        for each, at in zip(scores, boxes, strict=True):
            best, label = each[:, 1:].max(1)
            kept = suppress_non_maxima(at[None], best[None], iou_threshold=settings.nms_thresh)[0]
            kept &= best > settings.score_thresh
            answers.append({"boxes": at[kept], "labels": label[kept] + 1, "scores": best[kept]})
        return answers


def test_torchvisions_signature_is_opened_and_put_back() -> None:
    network = FasterRCNN()
    images = IMAGES.float()
    target = ObjectDetector(network, ListHead(classes=3, anchors=8), as_list=True, score_threshold=0.4)
    before = network.roi_heads.__dict__.copy()
    found = target.predict(images)
    assert network.asked[-1] == (0.01, 1.0, 8)
    assert network.roi_heads.__dict__ == before
    assert found.logits.shape == (3, 8, 3)
    assert found.present.sum(1).tolist() == [6, 6, 6]  # of six places each, none suppressed
    closed = ObjectDetector(network, ListHead(3, 8, open_suppression=False), as_list=True).predict(images)
    assert int(closed.present.sum()) < 18
    assert network.asked[-1] == (0.6, 0.3, 2)
    answer = target.detect(images)
    goal = Vanish(answer.boxes[:, 0], classes=answer.classes[:, 0], score_threshold=0.4)
    assert sp.run(PGD(sp.Linf(0.5), steps=40), target, goal, images).success.all()
    assert network.roi_heads.__dict__ == before
    with pytest.raises(TargetError, match="classes=1"):
        ObjectDetector(network, ListHead(1), as_list=True).predict(images)


class YOLO:
    """Ultralytics' wrapper: predict() with suppression, and the network inside."""

    def __init__(self) -> None:
        self.model = filled(Net(SMALL["yolo8"][1], SMALL["yolo8"][2]), "yolo")

    def predict(self, images: Tensor) -> Any:
        return None

    def __call__(self, images: Tensor) -> Any:
        return self.predict(images)


class Blind(nn.Module):
    """A network that computes without gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Net(SMALL["yolo8"][1], SMALL["yolo8"][2])

    @torch.no_grad()
    def forward(self, images: Tensor) -> Any:
        return self.net(images)


@pytest.mark.wrong_types
def test_what_has_no_gradient_is_refused_at_the_door() -> None:
    head = DistributionHead((8,), 4)
    yolo = YOLO()
    with pytest.raises(TargetError, match=r"YOLO predicts .* pass the network inside it: ObjectDetector\(yolo.model"):
        ObjectDetector(yolo, head)  # type: ignore[arg-type]
    target = ObjectDetector(yolo.model, head)
    goal = Vanish(torch.tensor([[0.0, 0, 12, 12]]).expand(3, 4), iou=0.01, score_threshold=0.01)
    blind = ObjectDetector(Blind(), head)
    with pytest.raises(TargetError, match=r"Blind computes without gradients .* Restricted\(target, 'scores'\)"):
        sp.run(PGD(sp.Linf(0.1), steps=2), blind, goal, IMAGES.float())
    assert isinstance(blind.predict(IMAGES.float()), Detections)
    for network in (lambda x: x, "yolov8n.pt"):
        with pytest.raises(TargetError, match=r"is no torch\.nn\.Module"):
            ObjectDetector(network, head)  # type: ignore[arg-type]
    with pytest.raises(TargetError, match=r"a YOLO .* head reads 2 maps"):
        ObjectDetector(yolo.model, YOLOHead(ANCHORS, (8, 16))).predict(IMAGES.float())
    for wrong in ({"score_threshold": 1.5}, {"treshold": 0.2}, {"size": 0}, {"letterbox": True}, {"std": (0.0,)}):
        with pytest.raises(ConfigError):
            ObjectDetector(yolo.model, head, **wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="one row of A for each stride"):
        YOLOHead(ANCHORS, (8,))
    assert target.task.objectives == ("cls", "max-class")


def test_objectives_are_those_that_the_head_states() -> None:
    boxes = torch.tensor([[0.0, 0, 12, 12]], dtype=torch.float64).expand(3, 4)
    classes = torch.zeros(3, dtype=torch.long)
    make, sizes, read = SMALL["yolo"]
    with_objectness = ObjectDetector(filled(Net(sizes, read).double(), "yolo"), make().double())  # type: ignore[arg-type]
    outputs = with_objectness.predict(IMAGES)
    assert outputs.objectness is not None
    assert outputs.class_logits is not None
    for objective, logits in (
        ("obj", outputs.objectness),
        ("cls", outputs.class_logits[..., 0]),
        ("obj*cls", outputs.logits[..., 0]),
        ("max-class", outputs.logits.amax(2)),
    ):
        goal = Vanish(boxes, classes, iou=0.05, objective=objective)
        on = goal.lies_on(outputs)
        wanted = (-logits).masked_fill(~on, torch.inf).amin(1)
        assert torch.allclose(goal.loss_terms(outputs).margin, wanted.clamp_max(50.0))
        assert torch.equal(goal.margin(outputs), Vanish(boxes, classes, iou=0.05).margin(outputs))
        sp.run(PGD(sp.Linf(0.1), steps=1), with_objectness, goal, IMAGES)
    make, sizes, read = SMALL["yolo8"]
    without = ObjectDetector(filled(Net(sizes, read).double(), "yolo8"), make())  # type: ignore[arg-type]
    for objective, told in (
        ("obj", "a YOLOv8 .* head has no objectness; pass one of cls, max-class"),
        ("best", "is unknown"),
    ):
        with pytest.raises(GoalError, match=told):
            sp.run(PGD(sp.Linf(0.1), steps=1), without, Vanish(boxes, classes, objective=objective), IMAGES)
    with pytest.raises(GoalError, match="pass classes= beside the boxes"):
        sp.run(PGD(sp.Linf(0.1), steps=1), without, Vanish(boxes, objective="cls"), IMAGES)
