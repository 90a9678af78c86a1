"""The pages on certificates hold what the records hold, and the records are brackets."""

import json
from typing import Any

from benchmarks.certification import page
from benchmarks.provenance import ROOT


def record(name: str) -> Any:
    return json.loads((ROOT / "records" / "certification" / f"{name}.json").read_text())


def test_pages_are_those_of_the_records() -> None:
    assert (ROOT / "docs" / "certification-results.md").read_text() == page.results()
    text = (ROOT / "docs" / "audit.md").read_text()
    assert text.count(page.BEGIN) == text.count(page.END) == 1
    assert page.with_audits(text) == text
    for case in record("audit")["cases"]:
        for one in case["radii"]:
            counts = (one["right"], one["withstand_attacks"], one["not_broken"], one["proven"], one["open"])
            assert f"{case['model'][4:]}, {one['eps']} | {' | '.join(map(str, counts))} |" in text


def test_certified_is_at_most_empirical_is_at_most_clean_accuracy() -> None:
    text = page.digits()
    for row in record("digits")["verdicts"]:
        found, wrong = row["verify"], row["verify"]["methods"].get("clean", 0)
        assert found["proven"] + found["broken"] + found["open"] == row["images"]
        assert found["proven"] <= row["images"] - found["broken"] <= row["images"] - wrong
        assert f"{found['proven']} <= {found['proven'] + found['open']} <= {row['images'] - wrong} |" in text
        assert all(one["proven"] <= found["proven"] for one in row["methods"].values())
    for row in record("training")["rows"]:
        found, digits = row["verify"], row["verify"]["digits"]
        assert found["proven"] / digits <= 1 - found["broken"] / digits <= row["clean"]
    for case in record("audit")["cases"]:
        for one in case["radii"]:
            assert one["proven"] <= one["not_broken"] <= one["withstand_attacks"] <= one["right"]
            assert one["not_broken"] == one["proven"] + one["open"]


def test_no_attack_breaks_a_certificate() -> None:
    rows = record("violations")["rows"]
    assert sum(row["violations"] for row in rows) == 0
    assert len({(row["net"], row["norm"], row["method"]) for row in rows}) == len(rows)
    assert all(row["pairs"] <= row["images"] for row in rows)
    assert f"{sum(row['pairs'] for row in rows):,} pairs" in page.violations()
