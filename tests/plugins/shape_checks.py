"""Run-time checks of annotations: jaxtyping's shapes and dtypes, and beartype's plain types.

The import hook decorates every function and dataclass of CHECKED_PACKAGES as it is imported, so `install` has to be
called before anything of sparring is. A checked call with three tensors costs about 35 microseconds, as much as thirty
small operations of torch, so a test makes CHECKS_PER_TEST checks and no more; an unchecked call costs 0.2.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Self

import jaxtyping
from beartype import BeartypeConf, FrozenDict, beartype

CHECKED_PACKAGES = tuple(
    f"sparring.{name}"
    for name in ("access", "engine", "geometry", "goals", "inputs", "perturbations", "random", "rows", "targets")
)
CHECKS_PER_TEST = 300  # arguments and result of a call are one check each

# An int is a float, as for mypy. Self stays unchecked: beartype knows it only in classes that it decorates itself.
CONF = BeartypeConf(is_pep484_tower=True, hint_overrides=FrozenDict({Self: object}))

_checks_left: int | None = CHECKS_PER_TEST  # None: no limit


def typechecker(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function with its arguments and result checked, as the import hook asks for; each check is counted.

    The checks are made when the first one is due: most functions are never called in one run of few tests.
    """
    checked: Callable[..., Any] | None = None

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal checked
        global _checks_left
        if checked is None:
            checked = beartype(function, conf=CONF)
        if _checks_left is not None:
            _checks_left -= 1
            if _checks_left <= 0:
                jaxtyping.config.update("jaxtyping_disable", True)
        return checked(*args, **kwargs)

    return counted


def install() -> None:
    """Install the import hook; RuntimeError where a checked module has been imported before, and so would not be."""
    early = sorted(name for name in sys.modules if name.startswith(CHECKED_PACKAGES))
    if early:
        raise RuntimeError(f"imported before the import hook of the shape checks: {', '.join(early)}")
    jaxtyping.install_import_hook(CHECKED_PACKAGES, f"{__name__}.typechecker")


def start(limit: int | None) -> None:
    """Begin a test in which `limit` checks are made at most. None: no limit."""
    global _checks_left
    _checks_left = limit
    jaxtyping.config.update("jaxtyping_disable", limit == 0)
