"""Goals of shares, verifiers, detectors and maps: margins by hand, and what the doors refuse."""

import math
from dataclasses import replace

import pytest
import torch

from sparring import testing
from sparring.errors import GoalError, InputError
from sparring.goals import (
    Create,
    Dodge,
    FoolScenes,
    Impersonate,
    MisclassifyPixels,
    Mislabel,
    SceneTerms,
    Vanish,
)
from sparring.goals.detection import CLEAR
from sparring.tasks import Detections, Objects, box_iou
from sparring.testing.cases import draw


def scenes_of(margins: list[float]) -> SceneTerms:
    return SceneTerms(torch.tensor(margins, dtype=torch.float64)[None, :, None], False)


def margin_of(share: float, margins: list[float]) -> float:
    return float(FoolScenes(torch.zeros(1), share).margin(scenes_of(margins)))


@pytest.mark.parametrize(
    ("share", "expected"),
    [(1.0, -2.0), (0.8, -1.0), (0.6, 0.5), (0.5, 0.5), (0.4, 1.0), (0.2, 3.0), (1e-9, 3.0)],
)
def test_the_margin_of_a_share_is_that_of_the_part_which_completes_it(share: float, expected: float) -> None:
    assert margin_of(share, [0.5, 3.0, -1.0, 1.0, -2.0]) == expected


def test_a_share_needs_as_many_parts_as_it_says_and_not_one_more_by_rounding() -> None:
    for count in (50, 90, 100, 150, 199):
        for percent in range(1, 101):
            needed = -(-percent * count // 100)  # exactly
            won, one_less = ([1.0] * k + [-1.0] * (count - k) for k in (needed, needed - 1))
            assert margin_of(percent / 100, won) > 0, (percent, count)
            assert margin_of(percent / 100, one_less) < 0, (percent, count)


def test_a_part_that_is_not_a_number_makes_the_row_none() -> None:
    """It was the largest of all parts to a sort, and so counted as won."""
    goal, margins = FoolScenes(torch.zeros(1), 0.5), [math.nan, 1.0, -1.0, -1.0]
    assert math.isnan(float(goal.margin(scenes_of(margins))))
    assert float(goal.won_share(scenes_of(margins))) == 0.25
    maps = draw("maps", (2, 3, 4, 4))
    maps[0, 1, 2, 2] = math.nan
    margin = MisclassifyPixels(torch.zeros(2, 4, 4).long()).margin(maps)
    assert margin.isnan().tolist() == [True, False]


def test_pixels_without_a_label_do_not_count() -> None:
    labels = torch.tensor([[[0, 0], [0, 255]], [[255, 255], [255, 1]]])
    maps = torch.zeros(2, 2, 2, 2).double()
    maps[0, 1] = torch.tensor([[2.0, -1.0], [-3.0, 90.0]])  # margins 2, -1, -3 of three labelled pixels
    maps[1, 0, 1, 1] = 7.0

    def margins(share: float) -> list[float]:
        return MisclassifyPixels(labels, share).margin(maps).tolist()

    assert margins(1 / 3) == [2.0, 7.0]
    assert margins(0.5) == [-1.0, 7.0]
    assert margins(1.0) == [-3.0, 7.0]
    assert MisclassifyPixels(labels).won_share(maps).tolist() == pytest.approx([1 / 3, 1.0])
    assert MisclassifyPixels(labels).pixel_accuracy(maps).tolist() == pytest.approx([2 / 3, 0.0])
    other = MisclassifyPixels(labels.masked_fill(labels == 255, -1), ignore=-1)
    assert other.margin(maps).tolist() == margins(0.5)


def test_the_loss_of_a_share_is_the_mean_over_the_parts_that_count() -> None:
    labels = torch.tensor([[[0, 1], [255, 1]]])
    maps = draw("maps", (1, 2, 2, 2))
    apart = (maps[0, 0] - maps[0, 1]).abs()
    temperature = (apart.sum() - apart[1, 0]) / 3  # with two classes, of the margins that count
    each = torch.nn.functional.cross_entropy(maps / temperature, labels, ignore_index=255)
    assert float(MisclassifyPixels(labels).loss_of(maps)) == pytest.approx(0.5 * float(each), rel=1e-9)


def test_margins_of_verification_by_hand() -> None:
    embedded = torch.tensor([[3.0, 4.0], [1.0, 0.0]]).double()
    template = torch.tensor([[10.0, 0.0], [0.0, 2.0]]).double()
    assert Dodge(template, 0.7).margin(embedded).tolist() == pytest.approx([0.1, 0.7])
    gallery = torch.stack((template, template.flip(1)), 1)
    goal = Impersonate(gallery, 0.7)
    assert goal.margin(embedded).tolist() == pytest.approx([0.1, 0.3])
    assert goal.terms(embedded).values.tolist() == [pytest.approx([-0.1, 0.1]), pytest.approx([-0.7, 0.3])]


def found(logits: list[float], boxes: list[list[float]] | None = None) -> Detections:
    count = len(logits)
    boxes = [[0.0, 0, 4, 4]] * count if boxes is None else boxes
    present = torch.ones(1, count, dtype=torch.bool)
    return Detections(torch.tensor([boxes]).view(1, count, 4), torch.tensor(logits).view(1, count, 1), present)


def test_every_anchor_on_the_object_has_to_lose_it() -> None:
    goal = Vanish(torch.tensor([[0.0, 0, 4, 4]]))
    assert float(goal.margin(found([-2.0, 1.5, -1.0]))) == -1.5
    assert float(goal.margin(found([-2.0, -1.5]))) == 1.5
    assert float(replace(goal, score_threshold=1 / (1 + math.exp(-3.0))).margin(found([-2.0, 1.5]))) == pytest.approx(
        1.5
    )
    absent = replace(found([-2.0, 1.5]), present=torch.tensor([[True, False]]))
    assert float(goal.margin(absent)) == 2.0


def test_an_anchor_that_lies_elsewhere_does_not_count() -> None:
    goal = Vanish(torch.tensor([[0.0, 0, 4, 4]]), iou=0.5)
    half = [0.0, 0, 4, 2]  # overlaps by exactly one half
    less = [0.0, 0, 4, 1.9]
    assert float(goal.margin(found([-1.0, 3.0], [[0.0, 0, 4, 4], half]))) == -3.0
    assert float(goal.margin(found([-1.0, 3.0], [[0.0, 0, 4, 4], less]))) == 1.0


def test_with_no_anchor_near_the_object_has_vanished_by_a_finite_margin() -> None:
    goal = Vanish(torch.tensor([[0.0, 0, 4, 4]]))
    far = found([9.0], [[20.0, 20, 24, 24]])
    assert float(goal.margin(far)) == CLEAR
    assert math.isfinite(float(goal.loss_of(far)))
    assert float(goal.margin(found([]))) == CLEAR
    nothing = replace(found([9.0]), present=torch.tensor([[False]]))
    assert float(goal.margin(nothing)) == CLEAR


def test_of_several_objects_all_have_to_vanish_each_as_its_class() -> None:
    nan = [math.nan] * 4
    boxes = torch.tensor([[[0.0, 0, 4, 4], [10, 10, 14, 14]], [[0.0, 0, 4, 4], nan]])
    at = torch.tensor([[[0.0, 0, 4, 4], [10, 10, 14, 14]]]).expand(2, 2, 4)
    logits = torch.tensor([[[-1.0, 3.0], [2.0, -2.0]], [[-1.0, 3.0], [2.0, -2.0]]])
    outputs = Detections(at, logits, torch.ones(2, 2, dtype=torch.bool))
    assert Vanish(boxes).margin(outputs).tolist() == [-3.0, -3.0]
    assert Vanish(boxes, torch.tensor([[0, 1], [0, 0]])).margin(outputs).tolist() == [1.0, 1.0]
    assert Vanish(boxes, torch.tensor([[0, 0], [1, 0]])).margin(outputs).tolist() == [-2.0, -3.0]
    objects = Objects(
        torch.nan_to_num(boxes), torch.tensor([[0, 0], [1, 0]]), torch.tensor([[True, True], [True, False]])
    )
    goal = Vanish.all_of(objects, iou=0.5)
    assert goal.margin(outputs).tolist() == [-2.0, -3.0]
    goal.check(outputs, goal)
    with pytest.raises(InputError, match="image 1 has no object"):
        Vanish.all_of(objects.of_class(0))


def test_an_object_is_mislabelled_where_its_class_is_gone_and_another_found() -> None:
    box, own = torch.tensor([[0.0, 0, 4, 4]]), torch.tensor([0])

    def margin(logits: list[list[float]], target: int | None = None) -> float:
        at = torch.tensor([[[0.0, 0, 4, 4], [0.0, 0, 4, 3.9], [9, 9, 12, 12]]])
        outputs = Detections(at, torch.tensor([logits]), torch.ones(1, 3, dtype=torch.bool))
        wanted = None if target is None else torch.tensor([target])
        return float(Mislabel(box, own, wanted).margin(outputs))

    assert margin([[-2.0, 3, -9], [-1, -9, -9], [9, 9, 9]]) == 1.0
    assert margin([[-2.0, -1, -9], [-1, -3, -9], [-9, 9, 9]]) == -1.0  # it has vanished
    assert margin([[2.0, 3, -9], [-1, -9, -9], [-9, 9, 9]]) == -2.0  # it is still found
    assert margin([[-2.0, 3, -4], [-1, -9, -5], [-9, 9, 9]], target=2) == -4.0


def test_an_object_is_made_up_where_its_middle_lies_in_the_region() -> None:
    region = torch.tensor([[4.0, 4, 8, 8]])
    at = torch.tensor([[[0.0, 0, 4, 4], [5.0, 5, 9, 9], [2, 2, 30, 30]]])
    outputs = Detections(at, torch.tensor([[[9.0, 9], [-2, 1], [9, 9]]]), torch.ones(1, 3, dtype=torch.bool))
    assert float(Create(region, torch.tensor([0])).margin(outputs)) == -2.0
    assert float(Create(region).margin(outputs)) == 1.0
    assert float(Create(torch.tensor([[20.0, 20, 21, 21]])).margin(outputs)) == -CLEAR


def test_overlaps_by_hand() -> None:
    truth = torch.tensor([[0.0, 0, 4, 4]])
    boxes = torch.tensor([[[0.0, 0, 4, 4], [2, 2, 6, 6], [4, 0, 8, 4], [1, 1, 1, 1], [3, 3, 1, 1]]])
    assert box_iou(boxes, truth[:, None])[:, :, 0].tolist() == [pytest.approx([1.0, 4 / 28, 0.0, 0.0, 0.0])]


def test_a_loss_over_scenes_is_made_of_the_terms_that_their_goal_names() -> None:
    values, others = torch.tensor([[[1.0], [-1.0]]]).double(), torch.tensor([[[-3.0], [2.0]]]).double()
    goal = FoolScenes(torch.zeros(1), 0.5)
    both = SceneTerms(values, True, others)
    assert torch.equal(goal.margin(both), goal.margin(SceneTerms(values, True)))
    assert torch.equal(goal.loss_of(both), goal.loss_of(SceneTerms(others, True)))
    assert not torch.equal(goal.loss_of(both), goal.loss_of(SceneTerms(values, True)))


@pytest.mark.parametrize(
    "make",
    [
        testing.verifier,
        testing.impersonation,
        testing.detector,
        testing.mislabelling,
        testing.creation,
        testing.segmenter,
    ],
)
def test_the_laws_of_goals(make) -> None:
    case = make(6)
    with torch.no_grad():
        far = torch.tensor([0.0, 0.02, 0.1, 0.5, 2.0, 6.0])[:, None, None, None]
        outputs = case.module(case.images + far * draw("moved", tuple(case.images.shape)))
    goal = case.goal
    if isinstance(goal, Mislabel):  # what no small change of the images does: the classes of three rows change places
        swapped = torch.where(torch.arange(6)[:, None, None] < 3, outputs.logits.flip(2), outputs.logits)
        outputs = replace(outputs, logits=swapped - 0.1 * (torch.arange(2) == goal.classes[:, None])[:, None])
    won = goal.margin(outputs) > 0
    if isinstance(goal, MisclassifyPixels):
        won = (outputs.argmax(1) != goal.labels).flatten(1).double().mean(1) >= goal.share - 1e-12
    elif isinstance(goal, Dodge | Impersonate):
        similar = goal.similarity(outputs)
        won = similar < goal.threshold if isinstance(goal, Dodge) else similar > goal.threshold
    elif isinstance(goal, Vanish):
        on = box_iou(outputs.boxes, goal.boxes[:, None])[:, :, 0] >= goal.iou
        won = ~(on & (outputs.logits.amax(2).sigmoid() >= goal.score_threshold)).any(1)
    elif isinstance(goal, Mislabel):
        on = box_iou(outputs.boxes, goal.boxes[:, None])[:, :, 0] >= goal.iou
        seen = outputs.logits.sigmoid() > 0.5
        rows = torch.arange(6)
        own = (on & seen[rows, :, goal.classes]).any(1)
        won = ~own & (on & seen[rows, :, 1 - goal.classes]).any(1)
    elif isinstance(goal, Create):
        middle = (outputs.boxes[..., :2] + outputs.boxes[..., 2:]) / 2
        inside = ((middle >= goal.boxes[:, None, :2]) & (middle <= goal.boxes[:, None, 2:])).all(2)
        won = (inside & (outputs.logits.amax(2).sigmoid() > 0.5)).any(1)
    assert 0 < int(won.sum()) < len(won)
    testing.check_goal(goal, outputs, won)


EMBEDDED = torch.zeros(3, 4)
BOX = torch.tensor([[0.0, 0, 4, 4]])


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("make", "outputs", "told"),
    [
        (lambda: Dodge(torch.zeros(3, 5), 0.5), EMBEDDED, "embeddings of 4 dimensions, and the templates have 5"),
        (lambda: Dodge(torch.zeros(3, 2, 4), 0.5), EMBEDDED, r"real numbers \(B, D\); got torch.float32 \(3, 2, 4\)"),
        (
            lambda: Impersonate(torch.zeros(3, 4), 0.5),
            EMBEDDED,
            r"real numbers \(B, N, D\)",
        ),  # each row would see all others
        (lambda: Impersonate(torch.zeros(3, 0, 4), 0.5), EMBEDDED, r"\(B, N, D\)"),
        (lambda: Dodge(torch.zeros(3, 4).long(), 0.5), EMBEDDED, "real numbers"),
        (lambda: Dodge(torch.zeros(3, 4), 1.0), EMBEDDED, "no cosine"),
        (lambda: Dodge(torch.full((3, 4), torch.nan), 0.5), EMBEDDED, "NaN"),
        (lambda: Dodge(torch.eye(4)[:3] * 0, 0.5), EMBEDDED, "a template is zero"),
        (lambda: Vanish(BOX, iou=0.0), found([1.0]), "iou=0.0; pass an overlap"),
        (lambda: Vanish(BOX, score_threshold=1.0), found([1.0]), "reached by no score"),
        (lambda: Vanish(BOX[:, [2, 1, 0, 3]]), found([1.0]), "x1 < x2"),
        (lambda: Vanish(torch.full((1, 4), torch.nan)), found([1.0]), "x1 < x2"),
        (lambda: Vanish(torch.tensor([[0.0, 0, math.inf, 4]])), found([1.0]), "x1 < x2"),
        (lambda: Vanish(torch.full((1, 2, 4), torch.nan)), found([1.0]), r"boxes\[0, 0\] is \[nan"),
        (lambda: Vanish(BOX, torch.tensor([1])), found([1.0]), "the detector has classes 0 to 0"),
        (lambda: Vanish(BOX, torch.tensor([0.0])), found([1.0]), r"classes are int64 \(1,\), one for each box"),
        (lambda: Mislabel(BOX, torch.tensor([0])), found([1.0]), "knows one class"),
        (lambda: Mislabel(BOX[:, None], torch.zeros(1, 1).long()), found([1.0]), "one object in each image"),
        (lambda: Create(BOX, torch.tensor([-1])), found([1.0]), "classes 0 to 0"),
        (lambda: Create(BOX[:, None]), found([1.0]), "one region in each image"),
        (lambda: Vanish(torch.zeros(1, 5)), found([1.0]), r"boxes are \(images, 4\)"),
        (lambda: MisclassifyPixels(torch.zeros(1, 2, 2).long(), 0.0), torch.zeros(1, 3, 2, 2), "share=0.0"),
        (lambda: MisclassifyPixels(torch.zeros(1, 2, 2).long(), 1.5), torch.zeros(1, 3, 2, 2), "share=1.5"),
        (lambda: MisclassifyPixels(torch.zeros(1, 2, 2).long(), math.nan), torch.zeros(1, 3, 2, 2), "share=nan"),
        (lambda: MisclassifyPixels(torch.zeros(1, 2, 2)), torch.zeros(1, 3, 2, 2), "pass int64"),
        (lambda: MisclassifyPixels(torch.zeros(1, 3, 2).long()), torch.zeros(1, 3, 2, 2), "of that size"),
        (lambda: MisclassifyPixels(torch.full((1, 2, 2), 3)), torch.zeros(1, 3, 2, 2), "3 classes"),
        (lambda: MisclassifyPixels(torch.full((1, 2, 2), 255)), torch.zeros(1, 3, 2, 2), "no labelled pixel"),
        (lambda: MisclassifyPixels(torch.zeros(1, 2, 2).long()), torch.zeros(1, 1, 2, 2), "1 logit per pixel"),
        (lambda: FoolScenes(torch.zeros(1), 0.0), scenes_of([1.0]), "share=0.0"),
    ],
)
@pytest.mark.wrong_types
def test_what_cannot_be_judged_is_refused(make, outputs, told: str) -> None:
    goal = make()
    with pytest.raises((GoalError, InputError), match=told):
        goal.check(outputs, goal)


def test_a_present_anchor_whose_box_is_nan_has_not_vanished() -> None:
    boxes = torch.tensor([[[torch.nan, 0, 4, 4], [4.0, 4, 8, 8]]])
    outputs = Detections(boxes, torch.ones(1, 2, 1), torch.ones(1, 2, dtype=torch.bool))
    goal = Vanish(torch.tensor([[0.0, 0, 4, 4]]))
    assert goal.margin(outputs).isnan().all()
    filled = replace(outputs, present=torch.tensor([[False, True]]))
    assert goal.margin(filled).tolist() == [CLEAR]


@pytest.mark.wrong_types
def test_numbers_and_rows_of_a_wrong_type() -> None:
    boxes = torch.tensor([[0.0, 0, 4, 4]])
    outputs = Detections(boxes[:, None], torch.ones(1, 1, 1), torch.ones(1, 1, dtype=torch.bool))
    for goal in (Vanish(boxes, iou="0.3"), Vanish(boxes, score_threshold=None)):
        with pytest.raises(GoalError, match="pass a"):
            goal.check(outputs, goal)
    for threshold in ("0.5", None, torch.tensor([0.5])):
        dodge = Dodge(torch.ones(1, 4), threshold)
        with pytest.raises(GoalError, match="is no cosine"):
            dodge.check(torch.ones(1, 4), dodge)
    with pytest.raises(GoalError, match=r"torch.zeros\(1\)"):
        FoolScenes(1)
    fool = FoolScenes(torch.zeros(1))
    with pytest.raises(GoalError, match="OverScenes"):
        fool.check(torch.ones(1, 3), fool)


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_the_default_loss_is_the_same_at_any_scale_of_the_logits(scale):
    """One temperature serves all pixels of an image, their mean spread, written out for three classes."""
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 3, 4, 5, dtype=torch.float64), torch.randint(0, 3, (2, 4, 5))
    goal = MisclassifyPixels(labels)
    top = logits.sort(dim=1, descending=True).values
    temperature = (top[:, 0] - top[:, 2]).mean((1, 2))
    tempered = logits / temperature[:, None, None, None]
    expected = 0.5 * torch.nn.functional.cross_entropy(tempered, labels, reduction="none").mean((1, 2))
    torch.testing.assert_close(goal.loss_of(logits), expected)
    torch.testing.assert_close(goal.loss_of(scale * logits), expected)
