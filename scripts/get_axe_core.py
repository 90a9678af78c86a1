"""Fetch axe-core, which the accessibility test of the report runs, from npm into the cache."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from sparring.zoo.assets import cache_folder

VERSION = "4.14.1"
MEMBER = "package/axe.min.js"
SHA256 = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"


def main() -> int:
    folder_of_axe = cache_folder() / "axe-core"
    file = folder_of_axe / "axe.min.js"
    if file.exists():
        return 0
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["npm", "pack", "--silent", f"axe-core@{VERSION}"], cwd=folder, check=True, stdout=sys.stderr)
        with tarfile.open(next(Path(folder).glob("*.tgz"))) as archive:
            source = archive.extractfile(MEMBER)
            if source is None:
                raise SystemExit(f"{MEMBER} is not in axe-core {VERSION}")
            script = source.read()
    if hashlib.sha256(script).hexdigest() != SHA256:
        raise SystemExit(f"axe-core {VERSION} is not the file that was pinned; nothing was written")
    folder_of_axe.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    partial.write_bytes(script)
    partial.replace(file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
