"""`FILE.py:NAME` as an attack: a class, an object, or a function that returns one of the two."""

from __future__ import annotations

from typing import Any

from ..access import Attack
from ..errors import ConfigError, user_code
from . import python_file


def user_attack(spec: str) -> Any:
    """Return the attack, or the class of attacks, of a user's file; the file is run.

    Raises: ConfigError where there is no such file or name, UserCodeError where the user's code raises or exits.
    """
    split = python_file.split_factory(spec)
    if split is None:
        raise ConfigError(f"{spec!r} names no attack of a file; write FILE.py:NAME")
    found = python_file.import_name(*split)
    if isinstance(found, Attack | type) or not callable(found):
        return found
    with user_code(spec):
        return found()
