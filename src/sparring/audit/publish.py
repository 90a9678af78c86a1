"""report.json and report.html, from the records; both can be made again at any time."""

from __future__ import annotations

from pathlib import Path

from .records import Records
from .report import write_html
from .report_model import Report
from .run_folder import writing
from .shards import write_atomically
from .summary import summarize

JSON, HTML = "report.json", "report.html"


def publish(records: Records) -> Report:
    """Write the report of an open run, and return it."""
    report = summarize(records)
    with writing(records.folder):
        write_atomically(records.folder / JSON, (report.model_dump_json(indent=1) + "\n").encode())
        write_html(report, records.folder / HTML, records.folder)
    return report


def render(folder: Path) -> Report:
    """The report of the run in `folder`, made again from its records."""
    records = Records.open(folder)
    try:
        return publish(records)
    finally:
        records.close()
