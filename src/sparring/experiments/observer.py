"""The observer of an experiment, which is called with its progress."""

from __future__ import annotations

from collections.abc import Callable

from ..engine import Progress


class ExperimentObserver:
    """An observer of an experiment; every method may be left as it is."""

    def show(self, words: str, done: int, total: int) -> None:
        """Show what is going on, and how many of the steps are done."""

    def steps(self, name: str = "", before: float = 0.0, share: float = 0.0) -> Callable[[Progress], None] | None:
        """Return what an `Engine` calls after every step of one run, or None.

        Args:
            name: of the run, shown before the attack's name.
            before: share of all the work that lies before this run, in [0, 1].
            share: share of all the work that this run has, in [0, 1]; 0 where it is not known.
        """
        return None
