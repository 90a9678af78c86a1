"""The page docs/physical-results.md, made of records/physical/*.json, and of nothing else."""

from __future__ import annotations

from benchmarks.provenance import ROOT

PAGE, PICTURES = ROOT / "docs" / "physical-results.md", ROOT / "docs"


def text() -> str:
    """The page."""
    return ""
