"""Display of an audit's end: tables, findings, the exit code, and how to resume."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from .console import complain, print_table, say
from .errors import BELOW, INTERRUPTED

if TYPE_CHECKING:
    from ...audit import Report
    from ...audit.records.statistics import Share
    from ...audit.report.model import CertificatePart, EpsilonPart, SectionPart, ThreatPart
    from ...tasks import Table

COLUMNS = [
    "attack", "asked", "fell", "robust after", "median size", "8-bit too", "JPEG too", "forwards", "backwards",
    "seconds",
]  # fmt: skip
ROWS = 20  # rows of a table of a task that are printed
STYLES = {"severe": "bold red", "warning": "yellow", "note": ""}


def command_line() -> str:
    """Return the command as it was typed; with the path of the program where it is not on PATH."""
    program = "sparring" if shutil.which("sparring") or not sys.argv[0].endswith("sparring") else sys.argv[0]
    return shlex.join([program, *sys.argv[1:]])


@contextmanager
def resumable(out: Path, again: str | None = None) -> Iterator[None]:
    """On Ctrl-C, say how to go on: by the command `again`, or by the one that was typed with --resume."""
    try:
        yield
    except KeyboardInterrupt:
        if (out / "records.sqlite").exists():
            again = again or (command_line() if "--resume" in sys.argv else f"{command_line()} --resume")
            complain(f"interrupted; every chunk recorded so far is safe in {out}. Go on with:\n  {again}")
        else:
            complain("interrupted before the first chunk was begun; nothing was written")
        raise typer.Exit(INTERRUPTED) from None


def show_report(report: Report, out: Path) -> None:
    """Print what was found, and where it lies."""
    for threat in report.threats:
        for part in threat.epsilons:
            show_radius(threat, part, report.words.measure.lower())
    for section in report.sections:
        show_section(section)
    if report.certification is not None:
        say(f"\ncertificates: {report.certification.assumptions}")
        for left in report.certification.uncertified:
            say(f"no certificates: {left}")
    for finding in report.warnings:
        accepted = ", accepted" if finding.accepted else ""
        words = f"{finding.severity}{accepted} [{finding.code}]: {finding.message} {finding.advice}".rstrip()
        say(words, "" if finding.accepted else STYLES[finding.severity])
    say(f"report: {out / 'report.html'}   data: {out / 'report.json'}", "bold")


def exit_if_refused(report: Report, fail_under: float | None) -> None:
    """Exit with 1, saying why, where the audit is below `fail_under` or a severe finding is open."""
    below = False
    if fail_under is not None:
        threat, worst = report.worst()
        below = worst.robust_accuracy.share < fail_under
        if below:
            complain(
                f"{report.words.measure.lower()} {worst.robust_accuracy.share:.1%} under {threat.norm} "
                f"{worst.eps_text} is below --fail-under {fail_under:.1%}"
            )
    blocking = [finding.code for finding in report.warnings if finding.blocks]
    for code in blocking:
        complain(f"the severe finding {code} is open: repair what it names, or take note of it with --accept {code}")
    if below or blocking:
        raise typer.Exit(BELOW)


def show_section(section: SectionPart) -> None:
    """Print the tables of a section of the task."""
    for table in section.tables:
        left = 1 + sum(column.kind == "text" for column in table.columns[1:2])
        names, rows = section_rows(table)
        print_table(f"\n{section.title}: {table.title}", names, rows, left=left)
        if len(table.rows) > ROWS:
            say(f"  the first {ROWS} of {len(table.rows)}; all are in report.json")


def section_rows(table: Table) -> tuple[list[str], list[list[object]]]:
    """Return the columns of a task's table, and its first rows as text."""
    from ...audit.report.format import cell_text

    kinds = [column.kind for column in table.columns]
    rows: list[list[object]] = [
        [cell_text(value, kind) for value, kind in zip(row, kinds, strict=True)] for row in table.rows[:ROWS]
    ]
    return [column.name for column in table.columns], rows


def show_radius(threat: ThreatPart, part: EpsilonPart, measure: str) -> None:
    """Print one threat and radius as a table."""
    rows: list[list[object]] = [
        [
            f"{attack.view} {attack.attack}".strip(),
            attack.asked,
            attack.fell,
            f"{attack.robust_accuracy_after:.1%}",
            "-" if attack.median_size is None else f"{attack.median_size:.4g}",
            "-" if attack.survives_uint8 is None else attack.survives_uint8,
            "-" if attack.survives_jpeg90 is None else attack.survives_jpeg90,
            f"{attack.forwards:,}",
            f"{attack.backwards:,}",
            f"{attack.seconds:.1f}",
        ]
        for attack in part.attacks
    ]
    columns, title = COLUMNS, f"\n{threat.norm} {part.eps_text}: {measure} {share_text(part.robust_accuracy)}"
    if threat.smallest is not None:
        sizes = ", ".join("none" if size is None else f"{size:.4g}" for size in threat.smallest.quartiles)
        found, attacked = threat.smallest.found, threat.smallest.attacked
        title = f"\n{threat.norm}: examples of {found} of {attacked} images; quartiles of their sizes {sizes}"
        columns = [f"robust at {part.eps:.4g}" if name == "robust after" else name for name in COLUMNS]
    print_table(title, columns, rows)
    if part.certificates is not None:
        say(f"  {certificates_text(part.certificates)}")
    for view in part.views:
        say(f"  {view.name}: {share_text(view.robust_accuracy)}")


def certificates_text(found: CertificatePart) -> str:
    """Return what is proven, open and broken at a radius, by what and at which cost."""
    by = "".join(f", {method} {count}" for method, count in found.methods.items())
    words = f"proven {share_text(found.proven)}{by}; open {found.open}"
    words += "" if found.median_gap is None else f", median gap of their bounds {found.median_gap:.4g}"
    words += f"; broken {found.broken}" + (f"; contradicted {found.contradicted}" if found.contradicted else "")
    return f"{words}; {found.seconds:.1f} s"


def share_text(share: Share) -> str:
    """Return a share with its counts and interval."""
    return f"{share.share:.1%} ({share.count} of {share.total}; 95 %: {share.low:.1%} to {share.high:.1%})"
