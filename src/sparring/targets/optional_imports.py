"""Imports of packages that only some targets need."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from ..errors import AssetError


def import_optional(module: str, what: str, extra: str) -> ModuleType:
    """The module; AssetError that names the extra of sparring which brings it."""
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise AssetError(
            f"{what} needs {package}, which cannot be imported ({error}); run: pip install 'sparring[{extra}]'"
        ) from error
