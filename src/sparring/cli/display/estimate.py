"""`sparring audit --dry-run`: what would run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .console import print_table, say
from .progress import clock_text

if TYPE_CHECKING:
    from ...audit.request import AuditRequest

COLUMNS = ["threat", "attack", "asks for", "forwards", "backwards"]


def show_estimate(job: AuditRequest) -> None:
    """Print a table of all attacks, and the most that they can take."""
    from ...audit.estimate import estimate

    found = estimate(job)
    rows: list[list[object]] = [
        [one.threat, f"{one.view} {one.attack}".strip(), one.access, f"{one.forwards:,}", f"{one.backwards:,}"]
        for one in found.lines
    ]
    print_table("passes of one image, at most", COLUMNS, rows, left=3)
    count = "an unknown number of" if found.images is None else f"{found.images:,}"
    say(f"{count} images, each {found.forwards:,} forward and {found.backwards:,} backward passes at most")
    pass_words = f"{1000 * found.forward_seconds:.3g} ms forward and {1000 * found.backward_seconds:.3g} ms backward"
    if found.seconds is not None:
        say(f"at most about {clock_text(found.seconds)}, by one small batch ({pass_words}, per image); images that "
            "fall early or are given up take less")  # fmt: skip
    if found.certificates and found.certificate_seconds is not None:
        longest = clock_text(found.certificate_seconds)
        say(f"certificates: at most {longest} more of branch and bound, where every image is open at every radius")
    say("nothing was written")
