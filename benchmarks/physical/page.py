"""The page docs/physical-results.md, made of records/physical/*.json, and of nothing else."""

from __future__ import annotations

from benchmarks.provenance import ROOT

PAGE = ROOT / "docs" / "physical-results.md"


def text() -> str:
    """The page."""
    return ""
