"""`FILE.py:FACTORY`: a user's own Python. The file is imported and FACTORY() called: its code is run."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

from ..errors import ConfigError, nearest, user_code
from ..text import storable


def split_factory(spec: str) -> tuple[Path, str] | None:
    """Return FILE.py and FACTORY of a spec `FILE.py:FACTORY`; None where it is of another kind."""
    file, colon, factory = spec.rpartition(":")
    if colon and file.endswith(".py"):
        return Path(file), factory
    if spec.endswith(".py"):
        raise ConfigError(f"{spec}: say which function or class to call, as {spec}:NAME")
    return None


def call_factory(file: Path, factory: str) -> Any:
    """Import the file, and return what its FACTORY() returns.

    Raises: ConfigError where there is no such file or name, UserCodeError where the user's code raises or exits.
    """
    if not file.is_file():
        raise ConfigError(f"{file} does not exist; name a Python file, as FILE.py:NAME")
    resolved = file.resolve()
    name = f"sparring_user_{storable(resolved.stem)}_{hashlib.sha256(os.fsencode(resolved)).hexdigest()[:8]}"
    found = importlib.util.spec_from_file_location(name, resolved)
    if found is None or found.loader is None:
        raise ConfigError(f"{file} cannot be imported")
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module
    sys.path.insert(0, str(resolved.parent))
    try:
        with user_code(f"{file}:{factory}"):
            found.loader.exec_module(module)
            made = getattr(module, factory, None)
            if not callable(made):
                offered = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
                raise ConfigError(f"{file} has no function or class {factory!r} to call.{nearest(factory, offered)}")
            return made()
    except Exception:
        sys.modules.pop(name, None)  # workers import what is there
        raise
    finally:
        sys.path.remove(str(resolved.parent))
