"""The commands of `sparring`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from .. import __version__
from .commands.apply import apply
from .commands.attack import attack
from .commands.audit import audit
from .commands.compare import compare
from .commands.demo import demo
from .commands.export import export
from .commands.fit import fit
from .commands.generalize import generalize
from .commands.listing import listing
from .commands.report import report
from .commands.serve import serve
from .commands.train import train
from .commands.transfer import transfer
from .commands.zoo import zoo
from .display.errors import EPILOG, Settings, report_error

app = typer.Typer(
    name="sparring",
    help="Attack vision models, and measure how much they withstand.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog=EPILOG,
)
COMMANDS: dict[str, Callable[..., None]] = {
    "demo": demo,
    "audit": audit,
    "attack": attack,
    "fit": fit,
    "apply": apply,
    "list": listing,
    "report": report,
    "compare": compare,
    "export": export,
    "serve": serve,
    "train": train,
    "transfer": transfer,
    "generalize": generalize,
}
for name, command in COMMANDS.items():
    app.command(name, epilog=EPILOG)(command)
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
