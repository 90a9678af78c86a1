"""An audit on the console, with what it has to say beside its progress."""

from __future__ import annotations

from .console import say
from .progress import ConsoleWatch


class AuditWatch(ConsoleWatch):
    """Tells of probes and of what went wrong on the way."""

    def probing(self) -> None:
        say("trying on a few images whether attacks on this model can be believed")

    def told(self, words: str) -> None:
        say(words, "yellow")
