"""Extraction of chosen files from a wheel, zip or tgz that may be hostile.

Refused as a whole: absolute paths, `..`, drive letters and backslashes, links, devices, a wanted file that is
missing, there twice, or bigger than the limit (also when its header lies about the size).
"""

from __future__ import annotations

import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from ..errors import AssetError

MEMBER_LIMIT = 256 * 2**20
MEMBERS_LIMIT = 20_000
Opener = Callable[[], AbstractContextManager[IO[bytes]]]


def unpack_archive(
    archive: Path, folder: str, wanted: Collection[str], destination: Path, limit: int = MEMBER_LIMIT
) -> None:
    """Write the `wanted` files of the archive's `folder` into `destination`, under the same names."""
    try:
        if archive.suffix in (".whl", ".zip"):
            with zipfile.ZipFile(archive) as opened:
                _write(archive, _zip_members(archive, opened, limit), folder, wanted, destination, limit)
        else:
            with tarfile.open(archive, "r:gz") as tar:
                _write(archive, _tar_members(archive, tar, limit), folder, wanted, destination, limit)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError, RuntimeError, zlib.error) as error:
        raise AssetError(f"{archive.name} cannot be unpacked ({error}); fetch it again") from error


def _zip_members(archive: Path, opened: zipfile.ZipFile, limit: int) -> dict[str, Opener]:
    found: dict[str, Opener] = {}
    for info in opened.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)
        regular = kind in (0, stat.S_IFREG, stat.S_IFDIR)
        _admit(archive, info.orig_filename, found, regular=regular, size=info.file_size, limit=limit)
        if not info.is_dir():
            found[info.filename] = partial(opened.open, info)
    return found


def _tar_members(archive: Path, opened: tarfile.TarFile, limit: int) -> dict[str, Opener]:
    found: dict[str, Opener] = {}
    for info in opened:
        regular = info.isreg() or info.isdir()
        _admit(archive, info.name, found, regular=regular, size=info.size, limit=limit)
        if info.isreg():
            found[info.name] = partial(_opened, opened, info)
    return found


def _opened(tar: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    stream = tar.extractfile(info)
    if stream is None:
        raise AssetError(f"{info.name!r} is no file; nothing was unpacked")
    return stream


def _admit(archive: Path, name: str, found: Collection[str], *, regular: bool, size: int, limit: int) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name or "\0" in name:
        raise AssetError(f"{archive.name} holds the path {name!r}, which leaves its folder; nothing was unpacked")
    if not regular:
        raise AssetError(f"{archive.name} holds {name!r}, a link or a device; nothing was unpacked")
    if name in found:
        raise AssetError(f"{archive.name} holds {name!r} twice; nothing was unpacked")
    if size > limit:
        raise AssetError(f"{archive.name} holds {name!r} of {size} bytes, over the limit of {limit}")
    if len(found) >= MEMBERS_LIMIT:
        raise AssetError(f"{archive.name} holds more than {MEMBERS_LIMIT} files; nothing was unpacked")


def _write(
    archive: Path,
    found: dict[str, Opener],
    folder: str,
    wanted: Collection[str],
    destination: Path,
    limit: int,
) -> None:
    missing = [name for name in wanted if f"{folder}/{name}" not in found]
    if missing:
        raise AssetError(f"{archive.name} has no {folder}/{missing[0]}; fetch it again")
    destination.mkdir(parents=True, exist_ok=True)
    for name in wanted:
        left = limit
        (destination / name).parent.mkdir(parents=True, exist_ok=True)
        with found[f"{folder}/{name}"]() as source, (destination / name).open("xb") as sink:
            while block := source.read(2**20):
                left -= len(block)
                if left < 0:
                    raise AssetError(f"{archive.name}: {name!r} grows over the limit of {limit} bytes")
                sink.write(block)
