"""The drawing of a curve says what the data say."""

from __future__ import annotations

from itertools import pairwise

import pytest

from sparring.audit.records.statistics import share
from sparring.audit.report.curve import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, curve_panel
from sparring.audit.report.model import CurvePoint, Report, ThreatPart


def drawn_eps(x: float, widest: float) -> float:
    return (x - LEFT) / (WIDTH - LEFT - RIGHT) * widest


def drawn_share(y: float) -> float:
    return 1 - (y - TOP) / (HEIGHT - TOP - BOTTOM)


def dense(n: int) -> ThreatPart:
    points = [CurvePoint(eps=i / 100, robust_accuracy=share(n - i, n)) for i in range(n + 1)]
    return ThreatPart(norm="L2", epsilons=[], curve=points)


def test_dots_band_and_line_lie_where_the_numbers_are(report: Report) -> None:
    for threat in report.threats:
        drawn, widest = curve_panel(threat), threat.curve[-1].eps
        assert [drawn_eps(dot.x, widest) for dot in drawn.dots] == pytest.approx([p.eps for p in threat.curve])
        for dot, point in zip(drawn.dots, threat.curve, strict=True):
            expected = point.robust_accuracy
            found = [drawn_share(y) for y in (dot.y, dot.low, dot.high)]
            assert found == pytest.approx([expected.share, expected.low, expected.high])
        assert drawn.line.split() == [f"{dot.x:.2f},{dot.y:.2f}" for dot in drawn.dots]
        assert len(drawn.band.split()) == 2 * len(drawn.dots)


def test_the_certified_line_lies_beneath_the_curve_with_what_is_open_between(proven: Report) -> None:
    drawn, parts = curve_panel(proven.threats[0]), proven.threats[0].epsilons
    assert drawn.certified is not None
    assert [drawn_share(dot.y) for dot in drawn.certified.dots] == pytest.approx(
        [part.certificates.proven.share for part in parts if part.certificates]
    )
    assert [dot.x for dot in drawn.certified.dots] == [dot.x for dot in drawn.dots[1:]]
    lower = drawn.certified.line.split()
    assert lower[0] == drawn.line.split()[0]  # nothing moves: proven is what is right
    assert drawn.certified.open.split() == drawn.line.split() + lower[::-1]
    assert curve_panel(proven.threats[1]).certified is None
    assert "proven at eps 4/255" in drawn.description


def test_ticks_carry_the_eps_as_it_was_written(report: Report) -> None:
    assert [tick.text for tick in curve_panel(report.threats[0]).x_ticks] == ["0", "4/255", "8/255"]


def test_points_are_drawn_from_left_to_right_however_they_come(report: Report) -> None:
    threat = report.threats[0]
    shuffled = threat.model_copy(update={"curve": threat.curve[::-1]})
    assert curve_panel(shuffled) == curve_panel(threat)


def test_crowded_ticks_and_values_leave_room_for_each_other() -> None:
    drawn = curve_panel(dense(50))
    assert len(drawn.dots) == 51
    at = [tick.at for tick in drawn.x_ticks]
    assert min(b - a for a, b in pairwise(at)) > 20
    assert drawn.x_ticks[-1].text == "0.5"
    assert drawn.dots[-1].value != ""
    assert 3 < sum(dot.value != "" for dot in drawn.dots) < 20


def test_a_curve_of_one_point_is_drawn(report: Report) -> None:
    only = report.threats[0].model_copy(update={"curve": report.threats[0].curve[:1]})
    assert [dot.x for dot in curve_panel(only).dots] == [LEFT]


def test_the_description_tells_every_point(report: Report) -> None:
    described = curve_panel(report.threats[1]).description.replace("\N{NO-BREAK SPACE}", " ")
    assert "eps 0: 90.0 %, 36 of 40 images" in described
    assert "eps 0.5: 67.5 %, 27 of 40 images" in described
