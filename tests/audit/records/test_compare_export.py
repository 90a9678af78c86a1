"""Two runs held against each other, and a run as a table."""

import csv
import json
import sqlite3
import sys
from copy import deepcopy

import pytest
import torch

import sparring as sp
from sparring.audit import AuditObserver
from sparring.audit.records.compare import compare
from sparring.audit.records.database import FILE, Records
from sparring.audit.records.export import escape_formula, export, exported_columns
from sparring.audit.records.statistics import mcnemar
from sparring.errors import AssetError, ConfigError, RunError


@pytest.fixture
def weaker(single):
    """The small net with a last layer that is a little off."""
    net = deepcopy(single.model)
    with torch.no_grad():
        net[3].bias += torch.tensor([0.15, -0.15, 0.0, 0.0])
    return sp.Classifier(net, classes=4, name="weaker")


def lost(folder, eps):
    """Sample -> has it an example within eps, or was it wrong? Read from the tables."""
    connection = sqlite3.connect(folder / FILE)
    samples = dict(connection.execute("SELECT id, NOT clean_correct FROM sample"))
    for (sample,) in connection.execute("SELECT sample FROM result WHERE success AND eps <= ?", (eps,)):
        samples[sample] = 1
    connection.close()
    return samples


def test_the_pairs_are_those_of_the_tables(quick, weaker, tmp_path):
    threats = [sp.Linf(0.03), sp.Linf(0.08)]
    quick(threats=threats, out=tmp_path / "a")
    report = quick(target=weaker, threats=[*threats, sp.L2(0.1)], out=tmp_path / "b")
    rows = compare(tmp_path / "a", tmp_path / "b")
    assert [row.threat for row in rows] == ["no attack", "Linf 0.03", "Linf 0.08"]
    for row, eps in zip(rows, (0.0, 0.03, 0.08), strict=True):
        one, other = lost(tmp_path / "a", eps), lost(tmp_path / "b", eps)
        better = sum(one[sample] > other[sample] for sample in one)
        worse = sum(one[sample] < other[sample] for sample in one)
        assert (row.better, row.worse, row.p) == (better, worse, mcnemar(better, worse))
        assert row.difference == pytest.approx((better - worse) / 50)
    assert rows[2].after == report.threats[0].epsilons[1].robust_accuracy
    assert any(row.better or row.worse for row in rows)


def test_a_run_and_itself_do_not_differ(quick, single, tmp_path):
    quick(target=single, threats=[sp.Linf(0.05), sp.L2()], suite="fgsm,fmn", limit=12)
    for row in compare(tmp_path / "run", tmp_path / "run"):
        assert (row.better, row.worse, row.p, row.difference) == (0, 0, 1.0, 0.0)


def test_smallest_examples_are_compared_by_size(quick, single, weaker, tmp_path):
    effort = {"threats": [sp.L2()], "suite": "fmn", "limit": 12}
    one = quick(target=single, out=tmp_path / "a", **effort).threats[0].smallest
    other = quick(target=weaker, out=tmp_path / "b", **effort).threats[0].smallest
    _, row = compare(tmp_path / "a", tmp_path / "b")
    assert row.threat == "L2, smallest"
    assert row.better + row.worse > 5
    assert isinstance(row.before, float)
    assert one.quartiles != other.quartiles


def test_runs_that_cannot_be_compared(quick, images, labels, tmp_path):
    class Interrupted(AuditObserver):
        def recorded(self, done):
            raise KeyboardInterrupt

    effort = {"suite": "fgsm", "threats": [sp.Linf(0.02)]}
    quick(out=tmp_path / "a", **effort)
    quick(out=tmp_path / "b", data=[(images.flip(0), labels.flip(0))], **effort)
    with pytest.raises(RunError, match=r"are of other images: 50 of list and 50 of list"):
        compare(tmp_path / "a", tmp_path / "b")
    quick(out=tmp_path / "c", labels="model", **effort)
    with pytest.raises(RunError, match="have other labels for the same images"):
        compare(tmp_path / "a", tmp_path / "c")
    with pytest.raises(KeyboardInterrupt):
        quick(out=tmp_path / "d", observer=Interrupted(), **effort)
    with pytest.raises(RunError, match="d is not finished; go on with --resume"):
        compare(tmp_path / "a", tmp_path / "d")
    with pytest.raises(RunError, match="holds no run"):
        compare(tmp_path / "a", tmp_path / "nowhere")


@pytest.fixture
def hostile(quick, single, tmp_path):
    """A run whose names begin like formulas."""
    quick(target=single, threats=[sp.Linf(0.05), sp.L2()], suite="fgsm,fmn", limit=8)
    connection = sqlite3.connect(tmp_path / "run" / FILE)
    for sample, name in enumerate(("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", 'a "quoted", name', "naïve 猫")):
        connection.execute("UPDATE sample SET name = ? WHERE id = ?", (name, sample))
    connection.commit()
    connection.close()
    return tmp_path / "run"


def test_csv_holds_every_row_and_no_formula(hostile):
    path = export(hostile, "csv")
    assert path == hostile / "results.csv"
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    connection = sqlite3.connect(hostile / FILE)
    (count,) = connection.execute("SELECT COUNT(*) FROM result").fetchone()
    connection.close()
    assert len(rows) == count
    names = {row["name"] for row in rows}
    assert names == {"'+1", "'-1", "'@SUM(A1)", "'\t=1", 'a "quoted", name', "naïve 猫", "7"}  # 0 was wrong before
    assert not any(cell[:1] in "=+@" for row in rows for cell in row.values() if cell)
    assert {row["eps"] for row in rows} == {"0.05", ""}
    assert {row["first"] for row in rows if row["success"] == "0"} == {"-1"}
    assert escape_formula(-1) == -1


def test_json_is_json(hostile, tmp_path):
    path = export(hostile, "json", tmp_path / "table.json")
    rows = json.loads(path.read_text(), parse_constant=lambda word: pytest.fail(word))
    columns = [one.name for one in exported_columns(Records.open(hostile).facts)]
    assert list(rows[0]) == columns
    assert {"clean_prediction", "clean_confidence", "predicted", "confidence"} <= set(columns)
    assert rows[0]["name"] == "+1"
    assert [(row["sample"], row["norm"]) for row in rows] == sorted((row["sample"], row["norm"]) for row in rows)


def test_parquet_has_the_same_rows(hostile):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed: pip install 'sparring[export]'")
    rows = parquet.read_table(export(hostile, "parquet")).to_pylist()
    assert rows == json.loads(export(hostile, "json").read_text())


def test_what_cannot_be_exported_is_told(hostile, monkeypatch):
    with pytest.raises(ConfigError, match="Did you mean 'csv'"):
        export(hostile, "cvs")
    with pytest.raises(RunError, match="holds no run"):
        export(hostile / "examples", "csv")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(AssetError, match=r"Parquet needs pyarrow.*pip install 'sparring\[export\]'"):
        export(hostile, "parquet")
    assert not list(hostile.glob("*.partial"))


def test_a_file_of_somebody_else_is_not_overwritten(hostile, tmp_path):
    (tmp_path / "mine.csv").write_text("mine")
    with pytest.raises(RunError, match="exists; choose another"):
        export(hostile, "csv", tmp_path / "mine.csv")
    assert (tmp_path / "mine.csv").read_text() == "mine"
    assert export(hostile, "csv") == export(hostile, "csv")
