"""The commands of `sparring`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from .. import __version__
from .apply import apply
from .attack import attack
from .audit import audit
from .compare import compare
from .demo import demo
from .export import export
from .fit import fit
from .generalize import generalize
from .guard import Settings
from .listing import listing
from .report import report
from .serve import serve
from .train import train
from .transfer import transfer
from .zoo import zoo

app = typer.Typer(
    name="sparring",
    help="Attack vision models, and measure how much they withstand.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(demo)
app.command()(audit)
app.command()(attack)
app.command()(fit)
app.command()(apply)
app.command("list")(listing)
app.command()(report)
app.command()(compare)
app.command()(export)
app.command()(serve)
app.command()(train)
app.command()(transfer)
app.command()(generalize)
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
    """The entry point of the command line."""
    sys.exit(app())
