"""Render every page that is made of records: `python -m benchmarks.pages [--check]`.

Without pictures, which the pages' own modules draw (`python -m benchmarks.defenses.page`, ...). With `--check` nothing
is written, and pages that differ from their records are named.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import bayesian_page, embeddings, table
from benchmarks.certification import page as certification
from benchmarks.defenses import page as defenses
from benchmarks.detection import page as detection
from benchmarks.faces import audit_page as faces_audit
from benchmarks.faces import page as faces
from benchmarks.lidar import page as lidar
from benchmarks.physical import page as physical
from benchmarks.physical import stages_page
from benchmarks.provenance import ROOT
from benchmarks.segmentation import page as segmentation
from benchmarks.training import page as training

RECORDS = ROOT / "records"


def record(name: str) -> Any:
    """A record as it was written."""
    return json.loads((RECORDS / name).read_text())


def known(path: Path) -> Any:
    """A record as it was written, empty where it is not there yet."""
    return json.loads(path.read_text()) if path.exists() else {}


PAGES: dict[str, Callable[[], str]] = {  # of docs/
    "bayesian-results.md": lambda: bayesian_page.text(record("bayesian.json")),
    "benchmarks.md": lambda: table.page(
        {path.stem: json.loads(path.read_text()) for path in sorted(table.RECORDS.glob("*.json"))}
    ),
    "certification-results.md": certification.results,
    "defenses-results.md": defenses.text,
    "detection-results.md": lambda: detection.text(*map(known, (detection.DIGITAL, detection.PATCH))),
    "faces-audit.md": lambda: faces_audit.text(record("faces/audit.json")),
    "embeddings.md": lambda: embeddings.page(record("embeddings.json")),
    "faces.md": faces.page,
    "lidar.md": lidar.text,
    "physical-results.md": physical.text,
    "physical.md": lambda: stages_page.text(record("physical/stages.json")),
    "segmentation.md": segmentation.text,
    "training-results.md": training.text,
}


def different() -> list[str]:
    """The pages that are not what their records say."""
    docs = ROOT / "docs"
    return [name for name, text in PAGES.items() if (docs / name).read_text(encoding="utf-8") != text()]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; 1 where a page differs from its records")
    if parser.parse_args().check:
        names = different()
        for name in names:
            print(f"docs/{name} is not what its records say: python -m benchmarks.pages", file=sys.stderr)
        return 1 if names else 0
    for name, text in PAGES.items():
        (ROOT / "docs" / name).write_text(text(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
