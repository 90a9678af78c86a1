"""What the page says of findings, of views of a defended model, and of smallest examples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sparring.audit.report.model import Finding, Report

Reader = Callable[[Report], Any]


def raised(code: str, severity: Any, accepted: bool = False) -> Finding:
    return Finding(code=code, severity=severity, message=f"Message of {code}.", accepted=accepted)


def test_every_finding_says_when_why_and_what_to_do(report: Report, read: Reader) -> None:
    page = read(report)
    assert "severe zero-gradients Gradients are zero. Raised when a tenth of them is zero" in page.text
    assert "Why it matters attacks fail without the model being robust" in page.text
    assert "What to do Unmask them." in page.text
    assert "note few-samples 40 images are few. What to do Take 1,000." in page.text


def test_the_gravest_come_first_and_the_accepted_last(report: Report, read: Reader) -> None:
    given = [raised("a", "note"), raised("b", "severe", accepted=True), raised("c", "warning"), raised("d", "severe")]
    page = read(report.model_copy(update={"warnings": given}))
    items = [found for tag, found in page.elements if tag == "li" and found.get("id", "").startswith("finding-")]
    shown = [found["class"] for found in items]
    assert shown == ["severe", "warning", "note", "severe accepted"]
    places = [page.text.rindex(f"Message of {code}.") for code in "dcab"]
    assert places == sorted(places)
    assert "severe, accepted b" in page.text


def test_an_open_severe_finding_stands_beside_the_number(report: Report, read: Reader) -> None:
    words = "Not to be relied on. 1 severe finding is open."
    assert words in read(report).text
    accepted = [finding.model_copy(update={"accepted": True}) for finding in report.warnings]
    assert words not in read(report.model_copy(update={"warnings": accepted})).text
    two = [*report.warnings, raised("not-converged", "severe")]
    assert "2 severe findings are open" in read(report.model_copy(update={"warnings": two})).text


def test_beside_the_result_stand_few_findings_and_the_way_to_all(report: Report, read: Reader) -> None:
    given = [raised(f"code-{i}", "severe") for i in range(9)]
    page = read(report.model_copy(update={"warnings": given}))
    counts = [page.text.count(f"Message of code-{i}.") for i in range(9)]
    assert counts == [2] * 4 + [1] * 5
    assert "All 9 findings, why they matter and what to do" in page.text
    assert page.elements.count(("a", {"href": "#findings"})) == 3  # in the head, beside the number, below the few


def test_what_the_probes_measured_is_shown(report: Report, read: Reader) -> None:
    assert '"steady": {"of": 32, "again": 0.0}' in read(report).text
    assert "What was measured before" not in read(report.model_copy(update={"probes": {}})).text


def test_a_defended_model_shows_both_views_side_by_side(defended: Report, read: Reader) -> None:
    page = read(defended)
    head, _, first, second, third = page.table("threats")
    assert head[2:4] == ["Naive attacker", "Robust accuracy, adaptive attacker"]
    assert [row[2:4] for row in (first, second, third)] == [
        ["65.0 %", "56.9 %"],
        ["15.0 %", "6.9 %"],
        ["75.0 %", "66.9 %"],
    ]
    assert "The attacker knows the defense; one who does not leaves 15.0 %. No other" in page.text
    assert [row[5] for row in (first, second, third)] == ["22.8 of 40", "2.8 of 40", "26.8 of 40"]


def test_certificates_bracket_the_robust_accuracy(proven: Report, report: Report, read: Reader) -> None:
    page = read(proven)
    first, second = (part for part in proven.threats[0].epsilons)
    rows = page.table("certificates")[1:]
    for row, part in zip(rows, (first, second), strict=True):
        found = part.certificates
        assert found is not None
        assert row[4:6] == [f"{found.proven.count} of 40", str(found.open)]
        bracket = [float(row[place].rstrip(" %\N{NO-BREAK SPACE}")) for place in (2, 6, 7)]
        assert bracket == pytest.approx([100 * found.proven.share, 100 * part.robust_accuracy.share, 90])
    head, _, *radii = page.table("threats")
    place = head.index("Proven")
    shares = [f"{100 * part.certificates.proven.share:.1f} %" for part in (first, second) if part.certificates]
    assert [row[place] for row in radii] == [*shares, "–does not apply"]
    assert "real arithmetic" in page.text
    assert "Without certificates: L0 3" in page.text
    assert "proven to withstand any attack" in page.text
    assert [row[2] for row in page.table("images")[1:3]] == ["open", "open"]
    assert "certificates" not in read(report).rows


def test_a_random_model_is_said_to_be_one(defended: Report, read: Reader) -> None:
    page = read(defended)
    for told in (
        "its answers are random; it may reject an image",
        "5.0 % of the clean images are rejected",
        "each question of the adaptive attacker is the mean of 16 draws",
        "2.8 of 40 images can be expected to withstand all attacks and to be classified right",
        "Answers are random: a share is the mean",
    ):
        assert told in page.text


def test_attacks_stand_under_the_view_they_ran_in(defended: Report, read: Reader) -> None:
    rows = read(defended).table("attacks")
    heads = [row[0] for row in rows if len(row) == 1]
    assert heads[0].startswith("L∞ ≤ 4/255, naive attacker 4 wrong before any attack; 26 of 40 stand")
    assert heads[1].startswith("L∞ ≤ 4/255, adaptive attacker 22.8 of 40 stand")
    assert len(heads) == 6
    assert rows[0][5] == "Answers won"
    assert rows[0][9] == "Survive JPEG 90"
    assert [row[5] for row in rows[2:4]] == ["37.5 %"] * 2
    assert all(len(row) == len(rows[0]) for row in rows if len(row) > 1)


def test_the_naive_curve_is_drawn_apart(defended: Report, read: Reader) -> None:
    page = read(defended)
    lines = [found["points"] for _, found in page.elements if found.get("class") == "other"]
    assert len(lines) == 2
    last = [float(number) for number in lines[0].split()[-1].split(",")]
    assert last == [440 - 22, 20 + 234 * (1 - 6 / 40)]
    assert "naive attacker: 90.0 % at eps 0, 65.0 % at eps 0.0157, 15.0 % at eps 0.0314." in page.text


def test_smallest_examples_are_told_by_their_quartiles(nearest: Report, read: Reader) -> None:
    page = read(nearest)
    assert page.table("smallest")[1] == ["L2", "0.9", "1.8", "2.7", "36", "30"]
    assert "Half of the 36 images that were right fall when the change as a whole" in page.text
    assert "Smallest example, L2, median 1.8 30 found for 36 images" in page.text
    assert [row[0] for row in page.table("threats")] == ["Threat", "No attack"]
    assert len([found for _, found in page.elements if found.get("class") == "point"]) == 31


def test_too_few_smallest_examples_claim_no_median(nearest: Report, read: Reader) -> None:
    content = nearest.model_dump()
    content["threats"][0]["smallest"] = {"attacked": 36, "found": 12, "quartiles": [0.9, None, None]}
    page = read(Report.model_validate(content))
    assert page.table("smallest")[1] == ["L2", "0.9", "–", "–", "36", "12"]
    assert "Fewer than half of the 36 images that were right fell at all" in page.text
    assert "median not reached" in page.text


def test_a_goal_that_is_harder_to_reach_is_said(report: Report, read: Reader) -> None:
    words = "only where it reaches the class that the model finds least likely"
    assert words not in read(report).text
    assert words in read(report.model_copy(update={"goal": "least-likely"})).text
