"""The table of classes: numbers, order, and what it does with very many."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from sparring.audit.records.statistics import Share, share
from sparring.audit.report import render_html
from sparring.audit.report.class_table import class_table
from sparring.audit.report.model import ClassPart, Report

Reader = Callable[[Report], Any]


def with_classes(report: Report, parts: list[ClassPart]) -> Report:
    return report.model_copy(update={"per_class": parts})


@cache
def of(count: float, total: int) -> Share:
    return share(count, total)


def part(label: int, count: int, clean: float, standing: list[float], name: str = "") -> ClassPart:
    robust = of(standing[1], count)
    return ClassPart(
        label=label,
        name=name or str(label),
        count=count,
        clean_accuracy=of(clean, count),
        robust_accuracy=robust,
        standing=standing,
    )


def test_each_cell_has_its_share_and_its_count(report: Report, read: Reader) -> None:
    rows = read(report).table("classes")
    assert rows[0] == ["Class", "Images", "Clean", "L∞ ≤ 4/255", "L∞ ≤ 8/255", "L2 ≤ 0.5"]
    assert rows[1] == ["dog 1", "10", "90.0 % 9", "50.0 % 5", "0.0 % 0", "60.0 % 6"]
    assert rows[2] == ["cat 0", "20", "95.0 % 19", "65.0 % 13", "5.0 % 1", "70.0 % 14"]
    assert rows[3] == ["2", "10", "80.0 % 8", "50.0 % 5", "20.0 % 2", "70.0 % 7"]


def test_the_column_that_orders_the_rows_is_marked(report: Report, read: Reader) -> None:
    heads = [found for tag, found in read(report).elements if tag == "th" and found.get("aria-sort")]
    assert [head["aria-sort"] for head in heads] == ["ascending"]
    assert "the ones that L∞ ≤ 8/255 leaves least of first" in read(report).text


def test_equal_classes_are_ordered_by_all_radii_and_then_clean(report: Report) -> None:
    parts = [part(0, 10, 9, [5, 0, 6]), part(1, 10, 9, [4, 0, 6]), part(2, 10, 8, [5, 0, 6]), part(3, 10, 9, [9, 1, 9])]
    table = class_table(with_classes(report, parts))
    assert table is not None
    assert [row.name for row in table.rows] == ["1", "2", "0", "3"]


def test_expected_numbers_have_a_decimal(report: Report, read: Reader) -> None:
    rows = read(with_classes(report, [part(0, 10, 9.25, [5, 2.5, 6])])).table("classes")
    assert rows[1] == ["0", "10", "92.5 % 9.2", "50.0 % 5", "25.0 % 2.5", "60.0 % 6"]


def test_how_little_a_few_images_say_is_said(report: Report, read: Reader) -> None:
    many = with_classes(report, [part(0, 5000, 4500, [5, 4, 6])])
    assert "interval of its share is up to 45 points wide" in read(report).text
    assert "points wide" not in read(many).text


def test_a_report_without_classes_says_so(report: Report, read: Reader) -> None:
    assert "No class was audited." in read(with_classes(report, [])).text


@pytest.mark.parametrize(("classes", "rows"), [(2, 2), (10, 10), (1000, 1000), (100_000, 1000)])
def test_the_page_stays_usable_for_any_number_of_classes(
    report: Report, tmp_path: Path, classes: int, rows: int
) -> None:
    many = with_classes(report, [part(i, 20, 19, [i % 7, i % 5, i % 3]) for i in range(classes)])
    before, clock = render_html(report, tmp_path), time.process_time()
    text = render_html(many, tmp_path)
    assert time.process_time() - clock < 15
    assert len(text) - len(before) < 1_000_000
    assert text.split('id="classes-table"')[1].split("</table>")[0].count('<th scope="row">') == rows
    assert f"{rows:,} of {classes:,} classes shown" in text
    assert ("<code>report.json</code> has all of them" in text) == (rows < classes)


def test_a_class_number_of_a_billion_is_a_row_like_any_other(report: Report, read: Reader) -> None:
    rows = read(with_classes(report, [part(10**9, 4, 4, [2, 1, 2]), part(-1, 4, 4, [2, 2, 2])])).table("classes")
    assert [row[0] for row in rows[1:]] == ["1000000000", "-1"]
