"""An audit of a face verifier on the ORL faces, as `sparring face orl` does it, and the page that explains it.

    python -m benchmarks.faces.audit

The tables of the reports go to records/faces/audit.json; docs/faces-audit.md is made of the record (`--show` measures
nothing). The run lies in runs/face-orl and is resumed where it was interrupted; with everything recorded the reports
are made again. A few minutes on one CPU core.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.faces.audit_page import text
from benchmarks.provenance import ROOT, provenance

RECORD, PAGE = ROOT / "records" / "faces" / "audit.json", ROOT / "docs" / "faces-audit.md"
RUN = ROOT / "runs" / "face-orl"
COMMAND = "sparring face orl --out runs/face-orl"


def measure(run: Path) -> dict[str, Any]:
    """Run the plan, and return the tables of each goal's section."""
    words = [sys.executable, "-m", "sparring", "face", "orl", "--out", str(run), "--resume"]
    done = subprocess.run(words, cwd=ROOT, check=False)
    if done.returncode not in (0, 1):  # 1: a finding is open
        sys.exit(done.returncode)
    goals = {}
    for folder in sorted(path for path in run.iterdir() if (path / "report.json").is_file()):
        report = json.loads((folder / "report.json").read_text())
        goals[folder.name] = {
            "goal": report["goal"],
            "words": report["words"],
            "tables": {table["title"]: table for section in report["sections"] for table in section["tables"]},
            "seconds": report["provenance"]["seconds"],
            "findings": [f"{one['severity']} `{one['code']}`" for one in report["warnings"]],
        }
    return {"model": report["model"]["name"], "data": report["data"]["name"], "goals": goals}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--show", action="store_true", help="measure nothing, write the page")
    given = parser.parse_args()
    if not given.show:
        RECORD.write_text(json.dumps(measure(RUN) | provenance(COMMAND, "cpu"), indent=1) + "\n")
    PAGE.write_text(text(json.loads(RECORD.read_text())))


if __name__ == "__main__":
    main()
