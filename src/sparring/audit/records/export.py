"""The rows of a run as one table for other programs: every (sample, attack), with what is known of the sample."""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...errors import ConfigError, nearest
from ...targets.optional_imports import require
from .database import Records
from .run_folder import writing

FORMS = ("parquet", "csv", "json")
ACTIVE = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet may take for the beginning of a formula
BATCH = 10_000  # rows of a Parquet row group
ROWS = """
SELECT result.sample, sample.name, sample.label, sample.label_source, sample.aim, sample.clean_prediction,
    sample.clean_confidence, sample.clean_correct, sample.clean_rate, sample.clean_rejected, result.norm, result.eps,
    result.view, result.attack, result.access, result.seed, result.success, result.rate, result.linf, result.l2,
    result.l1, result.l0, result.forwards, result.backwards, result.checks, result.first, result.reason,
    result.seconds, result.predicted, result.confidence, result.survives_uint8, result.rate_uint8, result.uint8_size,
    result.survives_jpeg90, result.example_file, result.example_row
FROM result JOIN sample ON sample.id = result.sample ORDER BY result.sample, result.norm, result.eps, result.turn
"""
WHOLE = {
    "sample", "label", "aim", "clean_prediction", "clean_correct", "seed", "success", "forwards", "backwards", "checks",
    "first", "predicted", "survives_uint8", "survives_jpeg90", "example_row",
}  # fmt: skip
TEXT = {"name", "label_source", "norm", "view", "attack", "access", "reason", "example_file"}


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
    records = Records.open(run)
    path = out or run / f"results.{form}"
    partial = path.with_name(path.name + ".partial")
    try:
        with writing(path.parent):
            {"parquet": write_parquet, "csv": write_csv, "json": write_json}[form](result_rows(records), partial)
            os.replace(partial, path)
    finally:
        records.close()
        partial.unlink(missing_ok=True)
    return path


def result_rows(records: Records) -> Iterator[dict[str, Any]]:
    """Yield every row, without what is infinite."""
    for row in records.select(ROWS):
        yield {name: None if row[name] == math.inf else row[name] for name in row.keys()}  # noqa: SIM118


def escape_formula(value: Any) -> Any:
    """Return a text that no spreadsheet reads as a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(ACTIVE) else value


def write_csv(found: Iterator[dict[str, Any]], path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, columns())
        table.writeheader()
        for row in found:
            table.writerow({name: escape_formula(value) for name, value in row.items()})


def write_json(found: Iterator[dict[str, Any]], path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write("[")
        for number, row in enumerate(found):
            file.write(",\n " if number else "\n ")
            json.dump(row, file, ensure_ascii=False, allow_nan=False)
        file.write("\n]\n")


def import_pyarrow() -> Any:
    """pyarrow; AssetError with the extra that brings it."""
    require("pyarrow.parquet", "Parquet", "export")
    return require("pyarrow", "Parquet", "export")


def write_parquet(found: Iterator[dict[str, Any]], path: Path) -> None:
    pa = import_pyarrow()
    kinds = {name: pa.int64() if name in WHOLE else pa.string() if name in TEXT else pa.float64() for name in columns()}
    schema = pa.schema(list(kinds.items()))
    with pa.parquet.ParquetWriter(path, schema) as writer:
        waiting: list[dict[str, Any]] = []
        for row in found:
            waiting.append(row)
            if len(waiting) == BATCH:
                writer.write_table(pa.Table.from_pylist(waiting, schema))
                waiting = []
        writer.write_table(pa.Table.from_pylist(waiting, schema))


def columns() -> list[str]:
    """Return the names of the columns, in order."""
    named = ROWS.partition("FROM")[0].replace("SELECT", "").split(",")
    return [one.strip().partition(".")[2] for one in named]
