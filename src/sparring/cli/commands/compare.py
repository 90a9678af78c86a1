"""`sparring compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..display.console import print_table, say
from ..display.errors import with_exit_code

if TYPE_CHECKING:
    from ...audit.records.compare import RunComparison
    from ...audit.records.statistics import Share

COLUMNS = ["threat", "first", "second", "difference", "only first", "only second", "p"]


@with_exit_code
def compare_command(
    first: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a finished audit.")],
    second: Annotated[Path, typer.Argument(metavar="RUN", help="Another, on the same images and labels.")],
) -> None:
    """Hold two audits of the same images against each other, image by image."""
    from ...audit.records.compare import compare as paired

    found = paired(first, second)
    print_table(f"first: {first}   second: {second}", COLUMNS, [comparison_row(one) for one in found])
    say(
        "only first, only second: images that one of the two holds and the other does not. p: McNemar's exact test, "
        "two-sided; with several threats a small p among many is weaker evidence than it looks"
    )


def comparison_row(one: RunComparison) -> list[object]:
    """Return the cells of a threat's row, in the order of COLUMNS; a difference of shares is in points."""
    change = one.difference
    known = "-" if change is None else f"{100 * change:+.1f} points" if compares_shares(one) else f"{change:+.4g}"
    return [one.threat, figure(one.before), figure(one.after), known, one.worse, one.better, p_text(one.p)]


def compares_shares(one: RunComparison) -> bool:
    """Return True unless the first run has a median size, not a robust accuracy; True too where it has neither."""
    return not isinstance(one.before, float)


def figure(value: Share | float | None) -> str:
    """Return a share in percent, a size as it is."""
    if value is None:
        return "more than half stand"
    return f"{value:.4g}" if isinstance(value, float) else f"{value.share:.1%} ({value.count} of {value.total})"


def p_text(p: float) -> str:
    """No p value is zero."""
    return "< 0.0001" if p < 0.0001 else f"{p:.4f}"
