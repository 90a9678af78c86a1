"""The page: standard errors where there are several runs, losses with both, and records of any age."""

import json
from typing import Any

import pytest
from benchmarks.provenance import ROOT
from benchmarks.table import page

Row = dict[str, Any]
MADE = {
    "command": "python -m benchmarks.run", "date": "today", "commit": "0" * 40, "uncommitted_changes": False,
    "device": "cpu", "cpu": "a processor", "threads": 1, "python": "3.11", "versions": {"sparring": "0"},
}  # fmt: skip


def rows(library: str, *standing: float) -> list[Row]:
    """A run for each robust accuracy."""
    figures = {"seconds": 1.0, "forwards": 10.0, "backwards": 10.0, "success": 0.5, "median_distance": None}
    shared = {"net": "mnist-pgd", "attack": "pgd", "norm": "Linf", "eps": 0.3, "images": 200, "variant": "", "note": ""}
    settings = {"steps": 40, "random_start": False}
    named = {"library": library, "settings": settings, "outside": 0, "stopped": False}
    return [shared | figures | named | {"robust_accuracy": share, "repeat": i} for i, share in enumerate(standing)]


def rendered(*runs: list[Row], suite: str = "fixed") -> tuple[str, str]:
    """The tables and the losses."""
    text = page({suite: {"made": MADE, "rows": [row for each in runs for row in each]}})
    tables, _, losses = text.partition("## Losses")
    return tables, losses


@pytest.mark.parametrize("suite", ["fixed", "pgd"])
def test_robust_accuracy_has_its_standard_error(suite: str) -> None:
    """Of 0.92, 0.93 and 0.97 the mean is 0.94, the standard deviation 0.0265, its error that over the root of 3."""
    tables, _ = rendered(rows("foolbox", 0.92, 0.93, 0.97), rows("sparring", 0.9), suite=suite)
    assert "| 94.00 +- 1.53 % |" in tables
    assert "| 90.00 % |" in tables, "one run has no error"


def test_an_answer_that_is_determined_says_so() -> None:
    tables, losses = rendered(rows("foolbox", 0.92, 0.92), rows("sparring", 0.92, 0.92))
    assert tables.count("| 92.00 +- 0.00 % |") == 2
    assert "None in these records." in losses


def test_a_loss_is_listed_however_small_with_both_errors() -> None:
    _, losses = rendered(rows("foolbox", 0.92, 0.94), rows("sparring", 0.93, 0.94))
    assert "**sparring** against Foolbox: robust accuracy 93.50 +- 0.50 % against 93.00 +- 1.00 %" in losses


def test_a_run_that_was_stopped_counts_for_no_error() -> None:
    stopped = rows("foolbox", 0.92)[0] | {"note": "stopped after 60 s", "stopped": True}
    del stopped["robust_accuracy"]
    tables, _ = rendered([stopped], rows("sparring", 0.92, 0.94))
    assert "| 93.00 +- 1.00 % |" in tables
    assert "| Foolbox | 1.000 | 10.0 | 10.0 |  |" in tables


def test_settings_are_shown_in_words() -> None:
    tables, _ = rendered(rows("sparring", 0.9))
    assert "200 images; steps 40, random start off." in tables


def asked(library: str, seconds: float, fallen: float | None, of_all: float | None, **more: object) -> list[Row]:
    """One run of the suite `queries`, with its queries to success."""
    queries = {"queries_to_success": fallen, "queries_to_success_of_all": of_all}
    shown = {"own_settings": {"max_rounds": 30}, "seconds": seconds, "wall": 2 * seconds}
    return [rows(library, 0.5)[0] | queries | shown | more]


def test_queries_to_success_and_both_kinds_of_seconds_are_shown() -> None:
    tables, losses = rendered(asked("art", 4.0, 90, None), asked("sparring", 1.0, 50, 70), suite="queries")
    assert "| ART | max rounds 30 | 4.000 | 8.000 |  | 10.0 | 90 |  | 50.00 % |  |" in tables
    assert "| **sparring** | max rounds 30 | 1.000 | 2.000 | 0.250 | 10.0 | 50 | 70 | 50.00 % |  |" in tables
    assert "None in these records." in losses


def test_more_queries_to_success_are_a_loss() -> None:
    _, losses = rendered(asked("torchattacks", 4.0, 40, 70), asked("sparring", 1.0, 50, 70), suite="queries")
    assert "**sparring** against torchattacks: 50 queries to success, the median of the fallen, against 40" in losses
    assert "the median of all" not in losses
    _, losses = rendered(asked("torchattacks", 4.0, 50, 70), asked("sparring", 1.0, 50, None), suite="queries")
    assert "**sparring** against torchattacks: none queries to success, the median of all, against 70" in losses


def test_where_nobody_was_traced_there_are_no_such_columns() -> None:
    run = asked("sparring", 1.0, None, None, norm="L2", eps=None)
    del run[0]["queries_to_success"], run[0]["queries_to_success_of_all"]
    tables, _ = rendered(run, suite="queries")
    assert "| queries | success | median distance |  |" in tables
    assert "| 10.0 | 50.00 % | none |  |" in tables


def test_each_line_has_as_many_cells_as_its_table() -> None:
    """Also that of a library that failed or was stopped."""
    for eps in (0.3, None):
        failed = asked("art", 4.0, None, None, eps=eps, note="ValueError: no")
        stopped = asked("foolbox", 4.0, None, None, eps=eps, note="stopped after 60 s", stopped=True)
        for run in failed + stopped:
            del run["success"], run["robust_accuracy"], run["median_distance"]
        tables, _ = rendered(failed, stopped, asked("sparring", 1.0, 50, 70, eps=eps), suite="queries")
        lines = [line for line in tables.partition("\n## queries\n")[2].splitlines() if line.startswith("|")]
        assert lines
        assert len({line.count("|") for line in lines}) == 1


def test_the_records_in_git_are_readable() -> None:
    records = {path.stem: json.loads(path.read_text()) for path in (ROOT / "records" / "bench").glob("*.json")}
    text = page(records)
    assert records
    for name, record in records.items():
        assert f"\n## {name}\n" in text
        assert str(record["made"]["commit"])[:10] in text
