"""`FILE.py:FACTORY`: a user's own Python. The file is imported and FACTORY() called: its code is run.

A name that is a model or a data set already is taken as it is.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from ..errors import USER_FILE_SHA256, USER_MODULE_PREFIX, ConfigError, nearest, user_code
from ..hashing import file_sha256
from ..isolation import user_file
from ..targets import Target
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
    """Import the file, and return what its FACTORY() returns; a model or data set that has the name, as it is.

    Raises: ConfigError where there is no such file or name, UserCodeError where the user's code raises or exits.
    """

    def call(found: Any, offered: Callable[[Callable[[Any], bool]], list[str]]) -> Any:
        if found is None or isinstance(found, ModuleType | str):
            hint = nearest(factory, offered(callable))
            raise ConfigError(f"{file} has no function or class {factory!r} to call.{hint}")
        return found() if callable(found) and not isinstance(found, nn.Module | Target) else found

    return _use(file, factory, call)


def import_name(file: Path, name: str) -> Any:
    """Import the file, and return what has that name in it: a class, a function or any other object.

    Raises: as `call_factory`.
    """

    def take(found: Any, offered: Callable[[Callable[[Any], bool]], list[str]]) -> Any:
        if found is None:
            raise ConfigError(f"{file} has nothing of the name {name!r}.{nearest(name, offered(lambda _: True))}")
        return found

    return _use(file, name, take)


def _use(file: Path, name: str, use: Callable[[Any, Callable[[Callable[[Any], bool]], list[str]]], Any]) -> Any:
    """Import the file, and return what `use` makes of the object `name` (None where there is none) in it.

    A file that was imported before, and has not changed since, is not run again: its classes stay the same ones.
    """
    if not file.is_file():
        raise ConfigError(f"{file} does not exist; name a Python file, as FILE.py:NAME")
    resolved = file.resolve()
    called = f"{USER_MODULE_PREFIX}{storable(resolved.stem)}_{hashlib.sha256(os.fsencode(resolved)).hexdigest()[:8]}"
    digest, module = file_sha256(resolved), sys.modules.get(called)
    known = module is not None and getattr(module, USER_FILE_SHA256, None) == digest
    if module is None or not known:
        found = importlib.util.spec_from_file_location(called, resolved)
        if found is None or found.loader is None:
            raise ConfigError(f"{file} cannot be imported")
        sys.modules[called] = module = importlib.util.module_from_spec(found)
    try:
        with user_code(f"{file}:{name}"), user_file(resolved.parent):
            if not known:
                assert module.__spec__ is not None
                assert module.__spec__.loader is not None
                module.__spec__.loader.exec_module(module)
                setattr(module, USER_FILE_SHA256, digest)
            public = {key: value for key, value in vars(module).items() if not key.startswith("_")}
            return use(getattr(module, name, None), lambda fits: [key for key, one in public.items() if fits(one)])
    except Exception:
        sys.modules.pop(called, None)  # workers import what is there
        raise
