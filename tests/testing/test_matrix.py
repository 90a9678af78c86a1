"""The page of what serves what agrees with the code."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

import sparring as sp
from sparring.attacks import PGD, table
from sparring.tasks import Classification, Detection, Identification, Segmentation, Verification
from sparring.testing.matrix import LETTERS, Cell, Matrix, attacks, main, tried, try_cell
from sparring.testing.matrix_cases import COLUMNS, TASKS, images

PAGE = (Path(__file__).parents[2] / "docs" / "matrix.md").read_text(encoding="utf-8")
CELLS = {
    line.split(" | ")[0].removeprefix("| "): dict(zip(COLUMNS, line.removesuffix(" |").split(" | ")[1:], strict=True))
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith("| attack |")
}
NOTES = dict(re.findall(r"^\[\^(\d+)\]: (.*)$", PAGE, re.MULTILINE))


def test_every_attack_of_the_table_has_its_row() -> None:
    assert set(table.values()) <= {type(attack) for attack in attacks().values()}
    assert list(CELLS) == list(attacks())
    assert f"| attack | {' | '.join(COLUMNS)} |" in PAGE


def test_every_cell_is_served_or_has_its_reason() -> None:
    for name, row in CELLS.items():
        for column, told in row.items():
            letters, notes = told.split("[")[0], re.findall(r"\[\^(\d+)\]", told)
            assert len(letters) == len(TASKS) or notes, (name, column)
            assert all(NOTES[note] for note in notes)


@pytest.mark.parametrize(
    ("name", "column", "task"),
    [
        ("pgd linf", "images", Classification()),
        ("fmn l2", "partial clouds", Verification()),
        ("square linf", "rotation", Classification()),
        ("deepfool l2", "detector", Detection()),
        ("hopskipjump l2", "eps per row", Segmentation()),
        ("apgd linf", "flow", Detection()),
        ("surfree", "vectors", Verification()),
        ("simba", "points", Segmentation()),
        ("hopskipjump linf", "images", Identification()),
        ("carlini-wagner", "mask per row", Identification()),
        ("input diversity", "colour curve", Classification()),
        ("orthogonal-pgd", "images", Classification()),
        ("orthogonal-pgd", "detector", Segmentation()),
        ("jsma", "mask per row", Detection()),
    ],
)
def test_the_page_says_what_the_code_does(name, column, task) -> None:
    cell, told = try_cell(name, column, task), CELLS[name][column]
    assert cell.ran == (LETTERS[task.name] in told.split("[")[0])
    if not cell.ran:
        assert cell.refused in [NOTES[note] for note in re.findall(r"\[\^(\d+)\]", told)]


@dataclass(frozen=True)
class Straying(PGD):
    """Leaves its ball."""

    def step(self, oracle, state, t):
        return replace(state, x=oracle.region.clamp_(super().step(oracle, state, t).x + 0.001))


@dataclass(frozen=True)
class Coupled(PGD):
    """Moves all rows alike."""

    def step(self, oracle, state, t):
        moved, region = super().step(oracle, state, t).x, oracle.region
        return replace(state, x=region.x + region.project((moved - region.x).mean(0, keepdim=True).expand_as(moved)))


@pytest.mark.parametrize(("attack", "told"), [(Straying, "asked beyond its ball"), (Coupled, "row . alone has")])
def test_an_attack_that_disobeys_is_no_cell(attack, told: str) -> None:
    with pytest.raises(AssertionError, match=told):
        tried(attack(sp.Linf(0.1), steps=5), images(Classification()))


def test_the_command_prints_and_writes(capsys) -> None:
    with pytest.raises(SystemExit):
        main(["--attack", "nothing of this name"])
    with pytest.raises(SystemExit):
        main(["page.md", "--attack", "pgd"])
    assert "leave --attack out" in capsys.readouterr().err
    cells = {("pgd", column, task.name): Cell() for column in COLUMNS for task in TASKS}
    cells["pgd", "flow", "detection"] = Cell("it moves pixels")
    page = Matrix(cells).page()
    assert "| pgd | CVIDS | CVIDS | CVIDS | CVIDS | CVIDS | CVIDS | CVIDS | CVIS[^1] | CVIDS | CVIDS |" in page
    assert "[^1]: it moves pixels" in page
