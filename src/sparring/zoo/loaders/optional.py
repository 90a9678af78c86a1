"""Imports of packages that only some loaders need."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from ...errors import AssetError


def import_optional(module: str, scheme: str, install: str) -> ModuleType:
    """Import a module; AssetError that says what to install where it is missing or broken."""
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] == package:
            raise AssetError(
                f"{scheme}: needs {package}, which is not installed; run: pip install {install}"
            ) from error
        raise AssetError(f"{scheme}: {package} is installed and does not import ({error}); reinstall it") from error
    except RuntimeError as error:  # torchvision built for another torch
        cure = f"install the build that fits your torch: pip install {install}"
        raise AssetError(f"{scheme}: {module} does not import beside this torch ({error}); {cure}") from error
