"""Reading of pictures from a run folder, whose records may be untrusted."""

from __future__ import annotations

import base64
from pathlib import Path

from ...errors import RunError

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def embedded(folder: Path, name: str) -> str:
    """Return the PNG called `name` in `folder` as a data URI; RunError where it is missing, outside or no PNG."""
    return "data:image/png;base64," + base64.b64encode(picture(folder, name)).decode("ascii")


def picture(folder: Path, name: str) -> bytes:
    """Return the content of the PNG called `name` in `folder`; RunError where it is missing, outside or no PNG."""
    root = folder.resolve()
    path = (root / name).resolve()
    if not path.is_relative_to(root):
        raise RunError(f"picture {name!r} lies outside the run folder {folder}; records may name only their own")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RunError(
            f"picture {name!r} of the run {folder} cannot be read ({error.strerror}); run the audit again"
        ) from error
    if not content.startswith(SIGNATURE):
        raise RunError(f"picture {name!r} of the run {folder} is not a PNG file; run the audit again")
    return content
