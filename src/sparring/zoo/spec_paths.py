"""The paths in specs, as `npz:FILE` and `FILE.py:FACTORY`, which a plan gives relative to its own folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..attacks.spec import USER_FILE

PATH_SCHEMES = ("folder", "flat", "npz", "onnx")
TEXTS = "#texts="


def with_paths(value: Any, folder: Path) -> Any:
    """Return a value of the plan in which the paths of models, data and attacks are relative to `folder` no more."""
    if isinstance(value, dict):
        return {key: with_paths(one, folder) for key, one in value.items()}
    if isinstance(value, list):
        return [with_paths(one, folder) for one in value]
    return with_path(value, folder) if isinstance(value, str) else value


def with_path(spec: str, folder: Path) -> str:
    """Return a spec with its paths under `folder`.

    As `npz:FILE`, `hf:ORG/NAME#texts=FILE`, `trained:DIR@FILE.py:FACTORY`, `FILE.py:NAME`.
    """
    scheme, colon, rest = spec.partition(":")
    if colon and scheme == "trained":
        where, at, factory = rest.rpartition("@")
        named = at and USER_FILE.fullmatch(factory)
        return f"trained:{under(where, folder)}@{under(factory, folder)}" if named else f"trained:{under(rest, folder)}"
    if colon and scheme == "hf" and TEXTS in rest:
        name, _, file = rest.partition(TEXTS)
        return f"hf:{name}{TEXTS}{under(file, folder)}"
    if colon and rest and scheme in PATH_SCHEMES:
        return f"{scheme}:{under(rest, folder)}"
    return under(spec, folder) if USER_FILE.fullmatch(spec) else spec


def under(path: str, folder: Path) -> str:
    """Return a path under `folder`; one that is absolute or begins with ~ as it is."""
    return path if path.startswith("~") else str(folder / path)
