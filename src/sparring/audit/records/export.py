"""The rows of a run as one table for other programs: every (sample, attack), with what is known of the sample."""

from __future__ import annotations

import csv
import json
import math
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ...errors import ConfigError, RunError, nearest
from ...files import written_beside
from ...targets.optional_imports import import_optional
from ..evaluation.prediction_columns import read_prediction
from .certificates import contradictions
from .database import Records
from .facts import Facts

FORMS = ("parquet", "csv", "json")
ACTIVE = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet may take for the beginning of a formula
BATCH = 10_000  # rows of a Parquet row group
ROWS = """
SELECT result.sample, sample.name, sample.label, sample.label_source, sample.aim, sample.clean_correct,
    sample.clean_rate, sample.clean_rejected, result.norm, result.eps,
    result.view, result.attack, result.access, result.seed, result.success, result.rate, result.linf, result.l2,
    result.l1, result.l0, result.forwards, result.backwards, result.checks, result.first, result.reason,
    result.seconds, result.survives_uint8, result.rate_uint8, result.uint8_size,
    result.survives_jpeg90, result.example_file, result.example_row, certificate.verdict, certificate.method,
    certificate.lower, certificate.slack, certificate.domains, sample.clean_prediction AS before,
    result.prediction AS after, certificate.seconds AS certificate_seconds
FROM result JOIN sample ON sample.id = result.sample
LEFT JOIN certificate ON certificate.sample = result.sample AND certificate.norm = result.norm
    AND certificate.eps = result.eps
ORDER BY result.sample, result.norm, result.eps, result.turn
"""
WHOLE = {
    "sample", "label", "aim", "clean_correct", "seed", "success", "forwards", "backwards", "checks", "first",
    "survives_uint8", "survives_jpeg90", "example_row", "domains",
}  # fmt: skip
TEXT = {"name", "label_source", "norm", "view", "attack", "access", "reason", "example_file", "verdict", "method"}
BEFORE = {"predicted": "clean_prediction"}  # the name of a column before the attack, where it is not clean_NAME


@dataclass(frozen=True)
class ExportedColumn:
    """A column of the table.

    `place` and `of`: it is of the task's prediction before or after the attack, and what it is called there.
    `named`: its value is the number of a class, whose name is written.
    """

    name: str
    kind: Literal["whole", "real", "text"]
    place: Literal["", "before", "after"] = ""
    of: str = ""
    named: bool = False


def export(run: Path, form: str, out: Path | None = None) -> Path:
    """Write the table, beside the records unless `out` names a file, and return where it is.

    An eps of infinity, of searches for the smallest example, is written as nothing. In CSV a text that a spreadsheet
    would take for a formula gets an apostrophe before it.

    Raises: ConfigError for an unknown form, AssetError without pyarrow, RunError for no run or a full disk.
    """
    if form not in FORMS:
        raise ConfigError(f"form {form!r} is unknown ({', '.join(FORMS)}).{nearest(form, FORMS)}")
    if form == "parquet":
        import_pyarrow()
    path = out or run / f"results.{form}"
    with closing(Records.open(run, read_only=True)) as records:
        if path.resolve().is_relative_to(run.resolve()) and path.resolve() != (run / f"results.{form}").resolve():
            raise ConfigError(f"--out {path} lies among the files of the run; name a file elsewhere")
        if out is not None and path.exists():
            raise RunError(f"{path} exists; choose another --out")
        with written_beside(path, "name a file with --out") as partial:
            write = {"parquet": write_parquet, "csv": write_csv, "json": write_json}[form]
            write(exported_rows(records), exported_columns(records.facts), partial)
    return path


def exported_rows(records: Records) -> Iterator[dict[str, Any]]:
    """Yield every row, without what is infinite; the verdict of a proof that an example breaks is "contradicted"."""
    listed, names = exported_columns(records.facts), records.facts.class_names or ()
    wrong = {(one.sample, one.norm, one.eps) for one in contradictions(records)}
    for row in records.select(ROWS):
        predictions = {place: read_prediction(row[place]) for place in ("before", "after")}
        values = {one.name: exported_value(one, row, predictions, names) for one in listed}
        yield values | ({"verdict": "contradicted"} if (row["sample"], row["norm"], row["eps"]) in wrong else {})


def exported_value(
    column: ExportedColumn, row: sqlite3.Row, predictions: dict[str, dict[str, Any]], names: Sequence[str]
) -> Any:
    """Return a number or a text; None for what is infinite or not known, 0 and 1 for flags."""
    value = predictions[column.place].get(column.of) if column.place else row[column.of or column.name]
    if column.named:
        return names[value] if value is not None and value < len(names) else None
    return None if value == math.inf else int(value) if isinstance(value, bool) else value


def escape_formula(value: Any) -> Any:
    """Return a text that no spreadsheet reads as a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(ACTIVE) else value


def write_csv(found: Iterator[dict[str, Any]], listed: list[ExportedColumn], path: Path) -> None:
    """Write the rows as CSV in UTF-8, below a header of column names; texts that look like formulas are escaped."""
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, [one.name for one in listed])
        table.writeheader()
        for row in found:
            table.writerow({name: escape_formula(value) for name, value in row.items()})


def write_json(found: Iterator[dict[str, Any]], listed: list[ExportedColumn], path: Path) -> None:
    """Write the rows as one JSON array in UTF-8, an object per line; ValueError for NaN or infinity."""
    with path.open("w", encoding="utf-8") as file:
        file.write("[")
        for number, row in enumerate(found):
            file.write(",\n " if number else "\n ")
            json.dump(row, file, ensure_ascii=False, allow_nan=False)
        file.write("\n]\n")


def import_pyarrow() -> Any:
    """pyarrow; AssetError with the extra that brings it."""
    import_optional("pyarrow.parquet", "Parquet", "export")
    return import_optional("pyarrow", "Parquet", "export")


def write_parquet(found: Iterator[dict[str, Any]], listed: list[ExportedColumn], path: Path) -> None:
    """Write the rows as Parquet, in row groups of 10,000; AssetError without pyarrow."""
    pa = import_pyarrow()
    kinds = {"whole": pa.int64(), "text": pa.string(), "real": pa.float64()}
    schema = pa.schema([(one.name, kinds[one.kind]) for one in listed])
    with pa.parquet.ParquetWriter(path, schema) as writer:
        waiting: list[dict[str, Any]] = []
        for row in found:
            waiting.append(row)
            if len(waiting) == BATCH:
                writer.write_table(pa.Table.from_pylist(waiting, schema))
                waiting = []
        writer.write_table(pa.Table.from_pylist(waiting, schema))


def exported_columns(facts: Facts) -> list[ExportedColumn]:
    """Return the columns in order: those of every run, then what the task says before the attack and after it."""
    named = ROWS.partition("FROM")[0].replace("SELECT", "").split(",")
    names = [one.strip().partition(".")[2] for one in named if " AS " not in one]
    listed = [ExportedColumn(name, "whole" if name in WHOLE else "text" if name in TEXT else "real") for name in names]
    listed.append(ExportedColumn("certificate_seconds", "real"))
    for column in facts.columns:
        kind: Literal["whole", "real"] = "real" if column.kind == "number" else "whole"
        before = BEFORE.get(column.name, f"clean_{column.name}")
        listed.append(
            ExportedColumn(before if before not in names else f"{before}_prediction", kind, "before", column.name)
        )
        after = column.name if column.name not in names else f"{column.name}_prediction"
        listed.append(ExportedColumn(after, kind, "after", column.name))
    if facts.class_names is not None:
        listed.append(ExportedColumn("label_name", "text", of="label", named=True))
        for column in (one for one in facts.columns if one.name == "predicted"):
            listed.append(ExportedColumn("clean_prediction_name", "text", "before", column.name, named=True))
            listed.append(ExportedColumn("predicted_name", "text", "after", column.name, named=True))
    return listed
