"""The console: text from outside is printed as it is, never read as markup or as a control sequence."""

from __future__ import annotations

import sys
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ...text import printable

WIDE = 130


class PlainConsole(Console):
    """A console that reads no markup; where nobody reads its output any more it says so by BrokenPipeError."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, highlight=False, emoji=False, **options)

    def on_broken_pipe(self) -> None:
        """Raise the error, where rich would exit with 1."""
        self.quiet = True
        raise BrokenPipeError


def out() -> Console:
    """Return the console of standard output; wide enough for a table where it is no terminal."""
    return PlainConsole(width=None if sys.stdout.isatty() else WIDE)


def say(text: object, style: str = "") -> None:
    """Print a line on standard output, not broken where it is no terminal."""
    out().print(Text(printable(text), style=style), soft_wrap=True)


def complain(text: object) -> None:
    """Print a red line on standard error."""
    console = PlainConsole(stderr=True)
    console.print(Text(printable(text), style="bold red"), soft_wrap=True)


def note(text: object) -> None:
    """Print a line on standard error, beside an answer on standard output."""
    PlainConsole(stderr=True).print(Text(printable(text)), soft_wrap=True)


def print_table(title: str, columns: list[str], rows: list[list[object]], left: int = 1) -> None:
    """Print a title, and a table whose first `left` columns are text and the others numbers."""
    say(title, "bold")
    drawn = Table(box=None, pad_edge=False)
    for place, column in enumerate(columns):
        drawn.add_column(column, justify="left" if place < left else "right", overflow="fold")
    for row in rows:
        drawn.add_row(*[Text(printable(cell)) for cell in row])
    out().print(drawn)
