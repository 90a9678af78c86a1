"""Labels, names, paths and plan values of a stranger: shown as they are, and inert."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sparring.audit.report import render_html
from sparring.audit.report.model import Report

Reader = Callable[[Report], Any]
DRAWN = {"line", "text"}  # an axis has room for fewer long words


def shape(page: Any) -> list[tuple[str, list[str]]]:
    """Elements and the names of their attributes; but for the number of a class that has a name."""
    elements = [(tag, found) for tag, found in page.elements if tag not in DRAWN and found.get("class") != "number"]
    return [(tag, sorted(found)) for tag, found in elements]


@pytest.mark.parametrize(
    ("before", "after"), [("report", "hostile"), ("defended", "hostile_views"), ("proven", "hostile_proofs")]
)
def test_foreign_text_adds_no_element_and_no_attribute(
    before: str, after: str, read: Reader, request: pytest.FixtureRequest
) -> None:
    poisoned = read(request.getfixturevalue(after))
    assert shape(poisoned) == shape(read(request.getfixturevalue(before)))
    assert "<script>alert(1)</script>" in poisoned.text
    assert "{{ 7 * 7 }}" in poisoned.text
    assert "../../etc/passwd" in poisoned.text


def test_names_that_a_task_of_the_users_own_gives_add_nothing_either(report: Report, read: Reader) -> None:
    content = report.model_dump()
    for part in content["gallery"]:
        for place in ("before", "after"):
            part[place] = {"</h3><script>alert(1)</script>": {"kind": "number", "value": 0.5, "text": "0.5"}}
    page = read(Report.model_validate(content))
    assert sum(tag == "script" for tag, _ in page.elements) == 1
    assert "</h3><script>alert(1)</script> 0.5" in page.text


def test_no_control_or_direction_mark_comes_through(hostile: Report, tmp_path: Path) -> None:
    assert not set("\x00\x1b\u202e\u202c") & set(render_html(hostile, tmp_path))


def test_foreign_text_reaches_no_address_identifier_or_class(hostile: Report, read: Reader) -> None:
    for tag, found in read(hostile).elements:
        for name in ("href", "src", "id", "class", "aria-labelledby", "for", "points"):
            assert "alert" not in found.get(name, ""), (tag, name)


def test_class_names_with_markup_stay_names(report: Report, read: Reader) -> None:
    named = [one.model_copy(update={"name": "</td><td data-v='9'>=1+1"}) for one in report.per_class]
    page = read(report.model_copy(update={"per_class": named}))
    assert page.table("classes")[1][:2] == ["</td><td data-v='9'>=1+1 1", "10"]
    assert not [found for _, found in page.elements if found.get("data-v") == "9"]


def test_foreign_words_stay_short(endless: Report, report: Report, read: Reader) -> None:
    added = len(read(endless).text) - len(read(report).text)
    assert added < 80_000


def test_an_endless_list_of_skipped_files_is_cut(report: Report, read: Reader) -> None:
    one = report.data.skipped[0]
    many = report.data.model_copy(update={"skipped": [one] * 100_000})
    page = read(report.model_copy(update={"data": many}))
    assert "100,000 files could not be read" in page.text
    assert page.text.count("truncated after") == 1000


def test_a_plan_of_a_million_letters_is_cut(report: Report, tmp_path: Path) -> None:
    plan = {f"field {i}": "<q>" * 300 for i in range(1000)}
    made = report.provenance.model_copy(update={"plan": plan, "command": "x" * 1_000_000})
    text = render_html(report.model_copy(update={"provenance": made}), tmp_path)
    assert len(text) < len(render_html(report, tmp_path)) + 120_000
    assert "<q>" not in text
