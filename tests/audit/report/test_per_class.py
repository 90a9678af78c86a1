"""The numbers of each class are those that its own rows give."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from pathlib import Path

import pytest

import sparring as sp
from sparring.audit import Report, render
from sparring.audit.records.database import Records
from sparring.audit.records.schema import FILE


def by_hand(folder: Path, norm: str, eps: float) -> dict[int, float]:
    """Label -> what stands, row by row: of each image's examples the one that won most often when it was found."""
    connection = sqlite3.connect(folder / FILE)
    stands: defaultdict[int, float] = defaultdict(float)
    for sample, label, claimed, rate in connection.execute("SELECT id, label, clean_claimed, clean_rate FROM sample"):
        question = "SELECT claimed, rate FROM result WHERE sample = ? AND norm = ? AND eps <= ?"
        rows = connection.execute(question, (sample, norm, eps))
        stands[label] += 1 - max([(claimed, rate), *rows], key=lambda row: row[0])[1]
    connection.close()
    return stands


def test_each_class_stands_as_its_own_rows_say(quick, tmp_path):
    report: Report = quick(threats=[sp.Linf(0.02), sp.Linf(0.05), sp.L2(0.1)])
    radii = [("Linf", 0.02), ("Linf", 0.05), ("L2", 0.1)]
    expected = [by_hand(tmp_path / "run", norm, eps) for norm, eps in radii]
    assert [part.label for part in report.per_class] == [0, 1, 2]
    for part in report.per_class:
        assert part.standing == pytest.approx([one[part.label] for one in expected])
    held = [part.robust_accuracy.count for threat in report.threats for part in threat.epsilons]
    assert [sum(part.standing[i] for part in report.per_class) for i in range(3)] == pytest.approx(held)
    assert sum(part.count for part in report.per_class) == 50
    assert sum(part.clean_accuracy.count for part in report.per_class) == 45
    worst = [(threat.norm, part.eps) for threat in report.threats for part in threat.epsilons].index(
        (report.worst()[0].norm, report.worst()[1].eps)
    )
    for part in report.per_class:
        assert part.robust_accuracy.share == pytest.approx(part.standing[worst] / part.count)


def test_smallest_examples_give_the_classes_of_their_radius(quick, batches):
    report: Report = quick(threats=[sp.L2()], data=batches[:2])
    (part,) = report.threats[0].epsilons
    assert sum(one.standing[0] for one in report.per_class) == part.robust_accuracy.count


def test_labels_of_a_billion_cost_a_row_each(quick, tmp_path):
    quick()
    connection = sqlite3.connect(tmp_path / "run" / FILE)
    with connection:
        connection.execute("UPDATE sample SET label = 1000000000 WHERE id < 5")
        connection.execute("UPDATE sample SET label = -7 WHERE id = 5")
    connection.close()
    parts = {part.label: part for part in render(tmp_path / "run").per_class}
    assert (parts[10**9].count, parts[10**9].name) == (5, "1000000000")
    assert (parts[-7].count, parts[-7].name) == (1, "-7")


def test_names_of_classes_are_those_of_the_data(quick, tmp_path):
    quick()
    facts = Records.open(tmp_path / "run")
    named = facts.facts.model_copy(update={"class_names": ("<b>", "=1+1", "../c", "none")})
    with facts.connection:
        facts.connection.execute("UPDATE run SET facts = ?", (named.model_dump_json(),))
    facts.close()
    assert [part.name for part in render(tmp_path / "run").per_class] == ["<b>", "=1+1", "../c"]
