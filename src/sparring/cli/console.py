"""What the command line prints: text from outside is shown as it is, never read as markup or as a control sequence."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDE = 130


def plain(text: object) -> str:
    """The text with what is not printable written as its code."""
    return "".join(c if c.isprintable() or c == "\n" else f"\\x{ord(c):02x}" for c in str(text))


def out() -> Console:
    """Standard output; wide enough for a table where it is no terminal."""
    return Console(markup=False, highlight=False, emoji=False, width=None if sys.stdout.isatty() else WIDE)


def say(text: object, style: str = "") -> None:
    """A line on standard output, not broken where it is no terminal."""
    out().print(Text(plain(text), style=style), soft_wrap=True)


def complain(text: object) -> None:
    """A red line on standard error."""
    console = Console(stderr=True, markup=False, highlight=False, emoji=False)
    console.print(Text(plain(text), style="bold red"), soft_wrap=True)


def table(title: str, columns: list[str], rows: list[list[object]], left: int = 1) -> None:
    """A title, and a table whose first `left` columns are text and the others numbers."""
    say(title, "bold")
    drawn = Table(box=None, pad_edge=False)
    for place, column in enumerate(columns):
        drawn.add_column(column, justify="left" if place < left else "right", overflow="fold")
    for row in rows:
        drawn.add_row(*[Text(plain(cell)) for cell in row])
    out().print(drawn)
