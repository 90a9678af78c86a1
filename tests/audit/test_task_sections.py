"""What a task says in the report: words, columns, details and sections, made again from the records alone."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

import sparring as sp
from sparring.audit import render
from sparring.audit.records.database import Records
from sparring.audit.report.junit import junit_report
from sparring.errors import InputError, RunError, TargetError
from sparring.goals import Goal, Terms
from sparring.tasks import Axis, Box, Column, Line, Picture, Plot, Results, Section, Strip, Table, Task, Words

COUNT = 6
SEEN: list[Results] = []


@dataclass(frozen=True)
class Depth(Task):
    """One number for each picture."""

    name: ClassVar[str] = "depth"
    fusions: ClassVar[tuple[str, ...]] = ("mean",)

    def check(self, outputs: Any, count: int) -> None:
        assert outputs.shape == (count, 1)

    def _fused(self, answers: Sequence[Any], how: str) -> Tensor:
        return torch.stack(list(answers)).mean(0)

    def prediction(self, outputs: Tensor, goal: Any) -> dict[str, Tensor]:
        return {"depth": outputs[:, 0]}

    def details(self, outputs: Tensor, goal: Any) -> list[Any]:
        return [[0.0, 0.0, float(value), 4.0] for value in outputs[:, 0]]

    @classmethod
    def sections(cls, results: Results) -> tuple[Section, ...]:
        SEEN.append(results)
        (threat,) = results.threats
        rows = [
            (name, one["depth"], other["depth"], (0.5, 0.25, 0.75), None)
            for name, one, other in zip(results.names, results.before, threat.after, strict=True)
        ]
        columns = [Column("input", "text"), Column("before"), Column("after"), Column("rate", "rate"), Column("none")]
        table = Table("Depths <b>", columns, rows, note=str(results.reference["unit"]))
        shares = Axis("share", 0.001, 1, "normal", percent=True)
        plot = Plot("Curve", Axis("depth", 0, 4), shares, [Line("all", [0, 1, 4], [0.001, 0.5, 1])])
        assert results.original is not None
        assert results.example is not None
        strips = []
        for sample in results.shown[0][:1]:
            boxes = [Box(*results.details[sample], "found")]
            shown = [Picture("before", results.original(sample), boxes), Picture("after", results.example(0, sample))]
            strips.append(Strip("Pictures", shown))
        return (Section("Depth", "What it says.", [table], [plot], strips),)


@dataclass(frozen=True)
class Nearer(Goal):
    """The depth falls below a limit."""

    limit: Tensor
    slack: float = 0.0

    task: ClassVar[type[Task] | None] = Depth
    words: ClassVar[Words] = Words("Depth kept", "Depth, clean", "kept", "lost")
    graded: ClassVar[bool] = True

    def __len__(self) -> int:
        return len(self.limit)

    def terms(self, outputs: Tensor) -> Terms:
        return Terms((self.limit + self.slack)[:, None] - outputs)


class Data:
    """One batch, and what lies beside it."""

    def __init__(self, **reference: Any) -> None:
        self.images = torch.linspace(0.4, 0.6, COUNT)[:, None, None, None].repeat(1, 1, 4, 4)
        self.goal = Nearer(torch.tensor([0.1, 0.1, 0.5, 0.5, 0.1, 0.9]))
        self.reference = {"unit": "metres", "scale": torch.ones(2), **reference}

    def __iter__(self) -> Any:
        yield self.images, self.goal


class Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1).mean(1, keepdim=True)


TARGET = sp.Model(Mean(), Depth(), name="mean")
OPTIONS: dict[str, Any] = {"threats": [sp.Linf(0.1)], "suite": "fgsm"}


def test_a_task_has_its_words_columns_tables_plots_and_pictures_in_the_report(tmp_path: Path) -> None:
    SEEN.clear()
    report = sp.audit(TARGET, Data(), out=tmp_path / "run", **OPTIONS)
    (results,) = SEEN
    depths = torch.linspace(0.4, 0.6, COUNT)
    (threat,) = results.threats
    assert results.goal == "Nearer"
    assert results.goal_values == {"slack": 0.0}
    assert [one["depth"] for one in results.before] == pytest.approx(depths.tolist(), abs=1e-6)
    assert results.met == [False, False, True, False, False, True]
    # What is met already is not attacked; all others are, and keep the example that goes furthest, met or not.
    after = torch.where(torch.tensor(results.met), depths, depths - 0.1)
    assert [one["depth"] for one in threat.after] == pytest.approx(after.tolist(), abs=1e-5)
    assert threat.met == [False, False, True, True, False, True]
    assert threat.attacked == [not met for met in results.met]
    assert threat.details[0] == pytest.approx([0, 0, 0.3, 4], abs=1e-5)
    assert results.reference["unit"] == "metres"
    assert torch.equal(results.reference["scale"], torch.ones(2))

    assert report.words.measure == "Depth kept"
    assert report.threats[0].epsilons[0].robust_accuracy.count == 3
    (section,) = json.loads((tmp_path / "run" / "report.json").read_text())["sections"]
    assert section["tables"][0]["rows"][0][1:3] == pytest.approx([0.4, 0.3], abs=1e-5)
    assert section["tables"][0]["rows"][0][3:] == [[0.5, 0.25, 0.75], None]
    page = (tmp_path / "run" / "report.html").read_text()
    text = re.sub(r"<[^>]+>", "", page)
    assert "Depth kept at" in text
    assert "Depths &lt;b&gt;" in text
    assert "50.0\N{NO-BREAK SPACE}% [25.0, 75.0]" in text
    assert "Robust accuracy" not in text
    assert b"Depths &lt;b&gt;" in junit_report(report, None)

    again = (tmp_path / "run" / "report.json").read_bytes()
    assert render(tmp_path / "run").sections == report.sections
    assert (tmp_path / "run" / "report.json").read_bytes() == again


def test_pictures_of_a_section_are_files_with_their_boxes(tmp_path: Path) -> None:
    data = Data()
    data.goal = Nearer(torch.full((COUNT,), 0.35))
    report = sp.audit(TARGET, data, out=tmp_path / "run", **OPTIONS)
    (strip,) = report.sections[0].strips
    assert [one.label for one in strip.pictures] == ["before", "after"]
    assert (tmp_path / "run" / strip.pictures[0].file).read_bytes().startswith(b"\x89PNG")
    (box,) = strip.pictures[0].boxes
    assert (box.x1, box.y1, box.y2, box.label) == (0, 0, 4, "found")
    assert box.x2 == pytest.approx(0.4, abs=1e-5)
    assert "<rect x=" in (tmp_path / "run" / "report.html").read_text()


def test_a_run_is_resumed_with_the_same_reference_only(tmp_path: Path) -> None:
    sp.audit(TARGET, Data(), out=tmp_path / "run", **OPTIONS)
    with closing(Records.open(tmp_path / "run")) as records:
        records.connection.execute("UPDATE run SET finished = 0")
    sp.audit(TARGET, Data(), out=tmp_path / "run", resume=True, **OPTIONS)
    with pytest.raises(RunError, match="another reference"):
        sp.audit(TARGET, Data(scale=torch.zeros(2)), out=tmp_path / "run", resume=True, **OPTIONS)


def test_what_no_record_holds_is_refused_before_the_first_attack(tmp_path: Path) -> None:
    for wrong in (float("nan"), object(), {1, 2}):
        with pytest.raises(InputError, match=r"reference\['unit'\]"):
            sp.audit(TARGET, Data(unit=wrong), out=tmp_path / "run", **OPTIONS)
    assert not (tmp_path / "run").exists()


def test_details_that_are_no_json_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Depth, "details", lambda self, outputs, goal: [object()] * len(outputs))
    with pytest.raises(TargetError, match=r"Task\.details"):
        sp.audit(TARGET, Data(), out=tmp_path / "run", **OPTIONS)
