"""`sparring face`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..display.audit_result import exit_if_refused
from ..display.console import complain, print_table, say
from ..display.errors import BELOW, with_exit_code
from . import options as given

if TYPE_CHECKING:
    from ...audit import Report


@with_exit_code
def face_command(
    plan: Annotated[
        str,
        typer.Argument(metavar="PLAN", help="A TOML file: model, data, threats, goals, ...; or of `list plans`."),
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="A folder, with a run and its report for each goal.")],
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")] = False,
    limit: given.Limit = None,
    device: given.Device = "cpu",
) -> None:
    """Audit a face verifier as PLAN says: every picture is embedded once, and each goal has a report of its own."""
    from ...audit.plan_file import read_face_plan
    from ...zoo import face_plan_path
    from ..display.junit_file import JUnitFile
    from ..specs.trials import acquire_faces
    from .audit import audit_trials

    configs, out = read_face_plan(face_plan_path(plan)), out.absolute()
    if limit is not None:
        configs = [config.model_copy(update={"limit": limit}) for config in configs]
    acquired = acquire_faces(configs[0], device)
    reports: dict[str, Report] = {}
    for config in configs:
        assert config.goal is not None
        say(f"\n{config.goal}", "bold")
        reports[config.goal] = audit_trials(config, acquired, out / config.goal, resume, JUnitFile(None, config.goal))
    show_goals(reports, out)
    refused = False
    for goal, config in zip(reports, configs, strict=True):
        try:
            exit_if_refused(reports[goal], config.fail_under)
        except typer.Exit:
            complain(f"{goal} is not green")
            refused = True
    if refused:
        raise typer.Exit(BELOW)


def show_goals(reports: dict[str, Report], out: Path) -> None:
    """Print the first table of each goal's section again, together, and where the reports lie."""
    from ..display.audit_result import section_rows

    for goal, report in reports.items():
        for section in report.sections[:1]:
            names, rows = section_rows(section.tables[0])
            print_table(f"\n{goal}: {section.tables[0].title.lower()}", names, rows)
        say(f"report: {out / goal / 'report.html'}", "bold")
