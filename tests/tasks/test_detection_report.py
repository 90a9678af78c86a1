"""What an audit records of a detector, and the section that its report makes of that."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from sparring.goals import Vanish
from sparring.tasks import Detection, Detections, Results, ThreatResults

BOX, OTHER = [0.0, 0.0, 10.0, 10.0], [20.0, 20.0, 30.0, 30.0]


def row(*found: tuple[list[float], int, float]) -> dict[str, Any]:
    """One object of class 1, and what is found."""
    entries = [[*box, kind, score] for box, kind, score in found]
    return {"found": entries, "truth": [[*BOX, 1]], "score_threshold": 0.5}


def results(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> Results:
    count = len(before)
    threat = ThreatResults(
        "Linf 2/255", "Linf", 0.1, [{}] * count, after, [True] * count, [False] * count, [True] * count
    )
    return Results(
        goal="Vanish",
        goal_values={},
        names=[f"picture {place}" for place in range(count)],
        before=[{}] * count,
        details=before,
        met=[False] * count,
        threats=[threat],
        reference={"class_names": "person\ndog"},
        shown=[[2]],
        original=lambda place: torch.full((3, 4, 4), 0.5),
        example=lambda threat, place: torch.full((3, 4, 4), 0.25),
    )


def test_the_section_has_rates_before_and_after_and_boxes_drawn() -> None:
    good = row((BOX, 1, 0.9))
    after = [row(), row((BOX, 0, 0.8), (BOX, 1, 0.4)), row((BOX, 1, 0.7), (OTHER, 0, 0.6)), row((OTHER, 1, 0.2))]
    (section,) = Detection.sections(results([good] * 4, after))
    (before, attacked) = section.tables[0].rows
    assert list(before[:4]) == ["before the attacks", 4, 1.0, 1.0]
    assert before[4][0] == before[5][0] == before[6] == 0  # type: ignore[index]
    assert attacked[:2] == ("Linf 2/255", 4)
    assert attacked[2] == pytest.approx(51 / 101)  # matches at 0.7 and 0.4, of four: recall one half, precision 1
    assert attacked[4][0] == 0.5  # type: ignore[index]
    assert attacked[5][0] == 0.25  # type: ignore[index]
    assert attacked[6] == 0.25
    (strip,) = section.strips
    assert strip.title == "picture 2, Linf 2/255"
    assert [box.label for box in strip.pictures[1].boxes] == ["", "dog 0.70", "person 0.60"]
    assert strip.pictures[1].boxes[0].dashed


def test_without_annotated_objects_there_is_no_section() -> None:
    nothing = {"found": [[*BOX, 1, 0.9]], "truth": [], "score_threshold": 0.5}
    assert Detection.sections(results([nothing] * 3, [nothing] * 3)) == ()


def test_details_hold_what_is_found_and_what_the_goal_is_about() -> None:
    boxes = torch.tensor([[BOX, OTHER, BOX]])
    logits = torch.tensor([[[3.0, -4.0], [-2.0, -9.0], [2.0, -9.0]]])
    outputs = Detections(boxes, logits, torch.ones(1, 3, dtype=torch.bool))
    goal = Vanish(torch.tensor([[BOX, [torch.nan] * 4]]), torch.tensor([[1, 0]]))
    (details,) = Detection().details(outputs, goal)
    assert details["truth"] == [[*BOX, 1]]
    assert details["score_threshold"] == 0.5
    assert [entry[:5] for entry in details["found"]] == [[*BOX, 0], [*OTHER, 0]]  # the third is suppressed
    assert [entry[5] for entry in details["found"]] == pytest.approx([0.9526, 0.1192], abs=1e-4)
    assert Detection().details(outputs, Vanish(torch.tensor([BOX])))[0]["truth"] == [[*BOX, -1]]
    assert Detection().details(outputs, None)[0]["truth"] == []
