"""Numbers and foreign text as the page shows them."""

from __future__ import annotations

import pytest

from sparring.audit.records.statistics import share
from sparring.audit.report import format


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0.0 %"),
        (0.0001, "<0.1 %"),
        (0.075, "7.5 %"),
        (0.9994, "99.9 %"),
        (0.9999, ">99.9 %"),
        (1.0, "100.0 %"),
        (None, "–"),
    ],
)
def test_percent_rounds_nothing_to_none_or_all(value: float | None, shown: str) -> None:
    assert format.percent(value).replace(format.GAP, " ") == shown


def test_an_interval_shows_both_ends() -> None:
    assert format.interval(share(48, 120)).replace(format.GAP, " ") == "31.7–48.9 %"


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "–"), (0.0078431, "0.00784"), (2.0, "2"), (27648.0, "27,648"), (1234.5, "1,234"), (1e-9, "1e-09")],
)
def test_number_keeps_three_digits(value: float | None, shown: str) -> None:
    assert format.number(value) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.04, "0.0 s"), (59.94, "59.9 s"), (119.7, "2 min 0 s"), (7260, "2 h 1 min")]
)
def test_duration_picks_its_unit(seconds: float, shown: str) -> None:
    assert format.duration(seconds).replace(format.GAP, " ") == shown


@pytest.mark.parametrize(("count", "shown"), [(12.0, "12"), (12.25, "12.2"), (1234.0, "1,234"), (0.0, "0")])
def test_expected_counts_have_a_decimal_and_whole_ones_have_none(count: float, shown: str) -> None:
    assert format.counted(count) == shown
    assert format.standing(share(count, 2000)) == shown


def test_passes_are_spread_over_the_images_asked() -> None:
    assert format.each(250, 100) == "2.5"
    assert format.each(0, 0) == "–"


def test_a_time_is_told_in_utc_and_an_unreadable_one_as_it_is() -> None:
    assert format.utc_time("2026-03-04T05:06:00+02:00") == "4 March 2026, 03:06 UTC"
    assert format.utc_time("some day") == "some day"


def test_what_did_not_fall_is_told_by_frequency() -> None:
    reasons = {"FOUND": 5, "ALREADY": 1, "EXHAUSTED": 2, "NO_GRADIENT": 30, "BUDGET": 0, "ODD": 1}
    assert format.left_standing(reasons) == ["30 with zero gradient", "2 outlasted it", "1 odd"]


def test_control_and_direction_marks_are_spelled_out() -> None:
    assert format.visible("a\u202egnp\x00\x1b\ud800\u2028b") == "a\\u{202e}gnp\\u{0}\\u{1b}\\u{d800}\\u{2028}b"


def test_letters_of_every_script_stay() -> None:
    text = "شیر می‌خواهم 猫 naïve 👩‍🚀 <b>"
    assert format.visible(text) == text


def test_long_text_is_cut_in_the_middle_and_says_so() -> None:
    text = "a" * 500 + "z" * 500
    assert format.visible(text, 80) == "a" * 40 + " … " + "z" * 40 + " (1,000 characters)"
    assert format.visible(text, 12) == "a" * 10 + "…z"


def test_a_plan_keeps_its_lines_but_no_control_marks() -> None:
    shown = format.plan_text({"data": "x\u202ey", "eps": [0.1]})
    assert shown == '{\n  "data": "x\\u{202e}y",\n  "eps": [0.1]\n}'


def test_an_endless_plan_is_cut_and_says_so() -> None:
    shown = format.plan_text({"data": "x" * 50_000}, 1000)
    assert len(shown) < 1200
    assert shown.endswith("50,016 characters in all; report.json has the rest")
