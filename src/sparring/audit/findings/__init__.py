"""Findings: what makes a robust accuracy untrustworthy, each with a code, a severity, a reason and a cure."""

from __future__ import annotations

from ...errors import ConfigError, nearest
from ..records.database import Records
from ..report.model import Finding, Report
from .kinds import KINDS, FindingKind, page
from .of_attacks import of_attacks
from .of_data import of_data
from .of_probes import of_probes

__all__ = ["KINDS", "FindingKind", "check_codes", "findings", "page"]

WEIGHT = {"severe": 0, "warning": 1, "note": 2}


def findings(records: Records, report: Report) -> list[Finding]:
    """List the findings that hold, the gravest first; several measurements of one code are merged into one."""
    accepted = records.accepted_codes()
    merged: dict[str, Finding] = {}
    for one in (*of_data(records, report), *of_probes(records), *of_attacks(records, report)):
        before = merged.get(one.code)
        if before is not None:
            weightier = min(one.severity, before.severity, key=WEIGHT.__getitem__)
            one = before.model_copy(update={"message": f"{before.message} {one.message}", "severity": weightier})
        merged[one.code] = one.model_copy(update={"accepted": one.code in accepted})
    return sorted(merged.values(), key=lambda one: WEIGHT[one.severity])


def check_codes(codes: tuple[str, ...]) -> tuple[str, ...]:
    """Raise ConfigError with the nearest code for one that no finding has."""
    for code in codes:
        if code not in KINDS:
            known = ", ".join(one.code for one in KINDS.values() if one.severity == "severe")
            near = nearest(code, KINDS)
            raise ConfigError(f"accept {code!r:.80}: no finding has this code (severe ones: {known}).{near}")
    return codes
