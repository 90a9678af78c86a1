"""The typer application with the commands of `sparring`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from .. import __version__
from .commands.apply import apply_command
from .commands.attack import attack_command
from .commands.audit import audit
from .commands.certify import certify_command
from .commands.compare import compare_command
from .commands.demo import demo_command
from .commands.export import export_command
from .commands.face import face_command
from .commands.fit import fit_command
from .commands.generalize import generalize_command
from .commands.listing import list_command
from .commands.report import report_command
from .commands.serve import serve_command
from .commands.train import train_command
from .commands.transfer import transfer_command
from .commands.zoo import zoo
from .display.errors import EPILOG, Settings, report_error
from .display.junit_file import JUnitCommand
from .display.usage import OneLineUsageErrors

app = typer.Typer(
    name="sparring",
    cls=OneLineUsageErrors,
    help="Attack vision models, and measure how much they withstand.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog=EPILOG,
)
COMMANDS: dict[str, Callable[..., None]] = {
    "demo": demo_command,
    "audit": audit,
    "attack": attack_command,
    "certify": certify_command,
    "face": face_command,
    "fit": fit_command,
    "apply": apply_command,
    "list": list_command,
    "report": report_command,
    "compare": compare_command,
    "export": export_command,
    "serve": serve_command,
    "train": train_command,
    "transfer": transfer_command,
    "generalize": generalize_command,
}
for name, command in COMMANDS.items():
    app.command(name, epilog=EPILOG, cls=JUnitCommand if name == "audit" else None)(command)
app.add_typer(zoo, name="zoo")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sparring {__version__}")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and stop.")
    ] = False,
) -> None:
    """Attack vision models, and measure how much they withstand."""
    Settings.debug = debug


def main() -> None:
    """The entry point of the command line; it ends with an exit code of the table, whatever happens."""
    # Threads that wait for others spin only briefly: by default they spin so long that beside other work an audit took
    # four times its time. 5,000 turns cost nothing on an idle machine.
    os.environ.setdefault("GOMP_SPINCOUNT", "5000")
    try:
        sys.exit(app())
    except (Exception, KeyboardInterrupt) as error:
        sys.exit(report_error(error))
