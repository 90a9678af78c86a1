"""Writing of report.json and report.html; both can be rebuilt from the records at any time."""

from __future__ import annotations

from pathlib import Path

from ...files import write_atomically
from ..records.run_folder import report_writing
from .html import write_html
from .model import Report

JSON, HTML = "report.json", "report.html"


def write_report(report: Report, folder: Path) -> None:
    """Write the report into the folder. RunError where the disk does not take it."""
    with report_writing(folder):
        write_atomically(folder / JSON, (report.model_dump_json(indent=1) + "\n").encode())
        write_html(report, folder / HTML, folder)
