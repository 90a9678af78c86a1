"""What the outputs of each task are, how several become one, and what a person reads."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

import sparring as sp
from sparring.errors import ConfigError, TargetError
from sparring.goals import Dodge, Impersonate, MisclassifyPixels, Vanish
from sparring.tasks import Classification, Detection, Detections, Segmentation, Task, Verification
from sparring.testing.cases import draw

LOGITS = (torch.tensor([[2.0, 0.0], [0.0, 1.0]]).double(), torch.tensor([[0.0, 1.0], [0.0, 3.0]]).double())


def boxes_of(count: int = 2, anchors: int = 3) -> Detections:
    corner = draw("corner", (count, anchors, 2))
    boxes = torch.cat((corner, corner + 2), dim=2)
    return Detections(boxes, draw("logits", (count, anchors, 2)), torch.ones(count, anchors, dtype=torch.bool))


WRONG = [
    (Classification(), torch.zeros(2), "(inputs, classes) for 2 inputs; got torch.float32 (2,)"),
    (Classification(), torch.zeros(3, 4), "for 2 inputs; got torch.float32 (3, 4)"),
    (Classification(), torch.zeros(2, 4, dtype=torch.long), "real numbers"),
    (Classification(), [0.0, 1.0], "got list"),
    (Classification(), torch.zeros(2, 4, 8, 8), "of classification"),
    (Verification(), torch.zeros(2, 4, 1), "(inputs, dimensions)"),
    (Verification(), torch.zeros(1, 4), "for 2 inputs"),
    (Segmentation(), torch.zeros(2, 4), "(inputs, classes, height, width)"),
    (Segmentation(), torch.zeros(2, 4, 8), "of segmentation"),
    (Detection(), torch.zeros(2, 4), "got Tensor"),
    (Detection(), replace(boxes_of(), boxes=torch.zeros(2, 4, 4)), "Detections"),
    (Detection(), replace(boxes_of(), boxes=torch.zeros(2, 3, 5)), "Detections"),
    (Detection(), replace(boxes_of(), boxes=torch.zeros(2, 3, 4, dtype=torch.long)), "real numbers"),
    (Detection(), replace(boxes_of(), boxes=[[0, 0, 1, 1]]), "got list"),
    (Detection(), replace(boxes_of(), logits=torch.zeros(2, 4, 2)), "Detections"),
    (Detection(), replace(boxes_of(), logits=torch.zeros(2, 3)), "Detections"),
    (Detection(), replace(boxes_of(), logits=torch.zeros(2, 3, 0)), "Detections"),
    (Detection(), replace(boxes_of(), present=torch.ones(2, 3)), "present (B, N) bool"),
    (Detection(), boxes_of(3), "for B = 2"),
]


@pytest.mark.parametrize(("task", "outputs", "told"), WRONG)
def test_what_are_no_outputs_of_the_task_is_refused(task: Task, outputs: object, told: str) -> None:
    with pytest.raises(TargetError) as error:
        task.check(outputs, 2)
    assert told in str(error.value)


@pytest.mark.parametrize(
    ("task", "outputs"),
    [
        (Classification(), torch.zeros(2, 5)),
        (Verification(), torch.zeros(2, 5)),
        (Segmentation(), torch.zeros(2, 3, 4, 4)),
        (Detection(), boxes_of()),
        (Detection(), boxes_of(2, 0)),
    ],
)
def test_outputs_of_the_task_are_taken(task: Task, outputs: object) -> None:
    task.check(outputs, 2)
    with pytest.raises(TargetError, match=f"the outputs of {task.name} are"):
        task.check(outputs, 3)


def test_probabilities_are_fused_as_the_logarithm_of_their_mean() -> None:
    def share(a: float, b: float) -> float:  # of the first class
        return 1 / (1 + math.exp(b - a))

    first = [(share(2, 0) + share(0, 1)) / 2, (share(0, 1) + share(0, 3)) / 2]
    expected = torch.tensor([[math.log(p), math.log(1 - p)] for p in first], dtype=torch.float64)
    assert torch.allclose(Classification().fuse(LOGITS), expected, atol=1e-15)
    assert torch.allclose(Classification().fuse(LOGITS, "probabilities"), expected, atol=1e-15)


def test_logits_and_majorities_are_fused_by_hand() -> None:
    assert torch.equal(Classification().fuse(LOGITS, "logits"), torch.tensor([[1.0, 0.5], [0.0, 2.0]]).double())
    shares = Classification().fuse(LOGITS, "majority").exp()  # one vote each, then both for the second class
    assert torch.allclose(shares, torch.tensor([[0.5, 0.5], [0.0, 1.0]]).double(), atol=1e-12)


def test_embeddings_are_fused_as_unit_vectors_whatever_their_lengths() -> None:
    answers = torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 400.0]])
    assert torch.equal(Verification().fuse(answers), torch.tensor([[0.5, 0.5]]))
    logits = torch.stack([one.log_softmax(1) for one in answers]).logsumexp(0) - math.log(2)  # what it was before
    assert not torch.allclose(logits / logits.norm(), torch.tensor([[0.5, 0.5]]) * 2**0.5, atol=0.1)


def test_detections_are_fused_anchor_by_anchor() -> None:
    one, other = boxes_of(), boxes_of()
    other = Detections(other.boxes + 2, other.logits - 4, other.present.clone())
    other.present[0, 1] = False
    fused = Detection().fuse((one, other))
    assert torch.allclose(fused.boxes, one.boxes + 1)
    assert torch.allclose(fused.logits, one.logits - 2)
    assert fused.present.tolist() == [[True, False, True], [True, True, True]]
    with pytest.raises(TargetError, match="anchor by anchor"):
        Detection().fuse((one, boxes_of(2, 4)))


def test_maps_are_fused_at_each_pixel() -> None:
    one, other = draw("one", (2, 3, 4, 5)), draw("other", (2, 3, 4, 5))
    mean = (one.softmax(1) + other.softmax(1)) / 2
    assert torch.allclose(Segmentation().fuse((one, other)).exp(), mean, atol=1e-15)
    assert torch.allclose(Segmentation().fuse((one, other), "logits"), (one + other) / 2)


@pytest.mark.parametrize("task", [Classification(), Verification(), Segmentation(), Detection()])
def test_one_answer_is_itself_and_unknown_ways_are_told(task: Task) -> None:
    answer = object()
    assert task.fuse([answer]) is answer
    with pytest.raises(ConfigError, match=f"fuse 'loud' is unknown in {task.name}"):
        task.fuse([answer], "loud")


def test_what_a_person_reads() -> None:
    labels = torch.tensor([[[0, 1], [255, 1]]])
    maps = torch.zeros(1, 2, 2, 2)
    maps[0, 1] = torch.tensor([[1.0, 1.0], [1.0, -1.0]])  # classes 1 1 / 1 0, of which one of three labels is right
    gallery = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])

    def read(task: Task, outputs: object, goal: object) -> dict[str, list[object]]:
        return {name: column.tolist() for name, column in task.prediction(outputs, goal).items()}

    seen = read(Classification(), LOGITS[0], sp.Misclassify(torch.tensor([0, 1])))
    assert seen["predicted"] == [0, 1]
    assert seen["confidence"] == pytest.approx([1 / (1 + math.exp(-2)), 1 / (1 + math.exp(-1))])
    assert read(Segmentation(), maps, MisclassifyPixels(labels))["pixel_accuracy"] == pytest.approx([1 / 3])
    near = torch.tensor([[3.0, 4.0]])
    seen = read(Verification(), near, Impersonate(gallery, 0.75))
    assert (seen["similarity"], seen["accepted"]) == (pytest.approx([0.8]), [True])
    seen = read(Verification(), near, Dodge(gallery[:, 0], 0.75))
    assert (seen["similarity"], seen["accepted"]) == (pytest.approx([0.6]), [False])


def test_what_a_person_reads_of_a_detector() -> None:
    found = boxes_of(3, 2)
    logits = torch.tensor([[[1.0, -1], [2, 0]], [[-1, -2], [-3, -4]], [[5, 5], [5, 5]]]).double()
    present = torch.tensor([[True, True], [True, True], [False, False]])
    seen = Detection().prediction(replace(found, logits=logits, present=present), None)
    assert seen["objects"].tolist() == [2, 0, 0]
    sure = [1 / (1 + math.exp(-2)), 1 / (1 + math.exp(1)), 0.0]
    assert seen["confidence"].tolist() == pytest.approx(sure)
    none = Detection().prediction(boxes_of(2, 0), None)
    assert none["objects"].tolist() == [0, 0]
    assert none["confidence"].tolist() == [0.0, 0.0]


def test_of_a_goal_about_one_object_the_anchors_on_it_are_counted() -> None:
    boxes = torch.tensor([[[0.0, 0, 4, 4], [0, 0, 4, 5], [6, 6, 9, 9]]])
    found = Detections(boxes, torch.tensor([[[1.0], [-1.0], [2.0]]]), torch.ones(1, 3, dtype=torch.bool))
    seen = Detection().prediction(found, Vanish(boxes[:, 0]))
    assert seen["objects"].tolist() == [1]
    assert seen["confidence"].tolist() == pytest.approx([1 / (1 + math.exp(-1))])


def test_columns_have_a_row_per_input() -> None:
    def columns(task: Task, outputs: object, goal: object) -> list[Tensor]:
        return list(task.prediction(outputs, goal).values())

    made = columns(Classification(), draw("l", (4, 3)), None) + columns(Detection(), boxes_of(4), None)
    made += columns(Verification(), draw("e", (4, 3)), Dodge(draw("t", (4, 3)), 0.5))
    made += columns(Segmentation(), draw("m", (4, 3, 2, 2)), MisclassifyPixels(torch.zeros(4, 2, 2).long()))
    assert all(column.shape == (4,) for column in made)
