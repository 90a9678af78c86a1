"""`sparring demo`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...errors import AssetError
from ..display.audit_result import command_line, resumable, show_report
from ..display.console import say
from ..display.errors import with_exit_code

if TYPE_CHECKING:
    from ...zoo import Data, LoadedModel

PHOTOS = ("efficientnet-lite0", "photos", ("linf:1/255", "l2:0.02,0.03,0.1,0.2"))
DIGITS = ("mnist-plain", "mnist-heldout", ("linf:0.05,0.1,0.2", "l2:0.5,1,1.5"))
PHOTOS_LIMIT, DIGITS_LIMIT = 8, 200


@with_exit_code
def demo_command(
    out: Annotated[Path, typer.Option(help="Where the run goes.")] = Path("runs/demo"),
) -> None:
    """Audit a real ImageNet classifier on photographs: about a minute, and a report with pictures.

    Stopped by Ctrl-C, it goes on when it is started again.
    """
    loaded, pictures, threats = subject()
    say(f"auditing {loaded.name} on {pictures.name} under {' and '.join(threats)}")
    from ...audit import audit, parse_threat_list
    from ..display.progress import AuditProgressBars

    with AuditProgressBars() as observer, resumable(out, command_line()):
        report = audit(
            loaded,
            pictures,
            threats=parse_threat_list(threats),
            out=out,
            suite="quick",
            batch_size=16,
            steps=10,
            restarts=1,
            queries=25,
            resume=out.exists(),
            command=command_line(),
            observer=observer,
        )
    show_report(report, out)


def subject() -> tuple[LoadedModel, Data, tuple[str, ...]]:
    """Return the classifier and the photographs, fetched if need be; digits where they cannot be had."""
    from ...zoo import get

    try:
        for name in PHOTOS[:2]:
            say(f"{name}: {get(name)}")
        return load_from_zoo(*PHOTOS, limit=PHOTOS_LIMIT)
    except AssetError as error:
        say(f"{error}\nthe photographs cannot be fetched: the demo audits handwritten digits instead", "yellow")
        get(DIGITS[1])
        return load_from_zoo(*DIGITS, limit=DIGITS_LIMIT)


def load_from_zoo(
    model: str, data: str, threats: tuple[str, ...], limit: int | None
) -> tuple[LoadedModel, Data, tuple[str, ...]]:
    """Load a model and data of the zoo on the CPU, at most `limit` images, and return them with the threats."""
    from ..specs.models import InputOverrides, load_model_and_data

    return *load_model_and_data(f"zoo:{model}", f"zoo:{data}", InputOverrides(), "cpu", limit), threats
