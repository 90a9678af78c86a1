"""`sparring certify`: a table of what is proven, broken and open."""

import csv

import pytest


def test_a_row_for_each_radius_and_a_verdict_for_each_image(typed, user, tmp_path):
    out = tmp_path / "out"
    result = typed(
        "certify", *user, "--threat", "linf:0.001,0.2", "--timeout", 0, "--limit", 10, "--classes", 4, "--out", out
    )
    assert result.exit_code == 0, result.output
    rows = list(csv.DictReader((out / "certificates.csv").read_text().splitlines()))
    assert len(rows) == 20
    for text in ("0.001", "0.2"):
        cells = next(line for line in result.stdout.splitlines() if line.startswith(f"{text} ")).split()
        counts = [sum(row["verdict"] == word for row in rows if row["threat"] == f"linf:{text}")
                  for word in ("proven", "broken", "open")]  # fmt: skip
        assert cells[1:3] == ["10", "9"]  # images, and those that are right
        assert [int(cell) for cell in cells[3:6]] == counts
        assert sum(counts) == 10
    small, large = ([row for row in rows if row["threat"] == f"linf:{text}"] for text in ("0.001", "0.2"))
    assert sum(row["verdict"] == "proven" for row in small) == 9
    broken = [{row["image"] for row in rows if row["verdict"] == "broken"} for rows in (small, large)]
    assert broken[0] <= broken[1]
    assert "float64" in result.stdout


@pytest.mark.parametrize(("words", "said"), [
    ((), "certify needs one norm"),
    (("--threat", "linf:0.1", "--threat", "l2:1"), "there are 2"),
    (("--threat", "l0:3"), "Linf, L2 and L1"),
    (("--threat", "linf:0.1", "--timeout", -1), "--timeout -1"),
    (("--threat", "linf:0.1", "--batch-size", 0), "--batch-size 0"),
])  # fmt: skip
def test_what_cannot_be_certified_is_one_line(typed, user, words, said):
    result = typed("certify", *user, "--classes", 4, "--limit", 4, *words)
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
