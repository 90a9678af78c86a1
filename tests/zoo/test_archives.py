"""Archives that want out of their folder, lie about their size, or are broken."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from sparring.errors import AssetError
from sparring.zoo.archives import unpack_archive


def make_zip(path: Path, *members: tuple[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def make_tgz(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for info, content in members:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize("kind", ["whl", "tgz"])
def test_takes_only_the_wanted_files(tmp_path: Path, kind: str) -> None:
    members = [("pack/data/a.txt", b"a"), ("pack/data/b.txt", b"b"), ("pack/run.py", b"raise SystemExit")]
    if kind == "whl":
        archive = make_zip(tmp_path / "p.whl", *members)
    else:
        archive = make_tgz(tmp_path / "p.tgz", *((tarfile.TarInfo(name), content) for name, content in members))
    unpack_archive(archive, "pack/data", ["b.txt"], tmp_path / "out")
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["b.txt"]
    assert (tmp_path / "out" / "b.txt").read_bytes() == b"b"


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "d/../../evil", "d\\evil", "C:evil"])
@pytest.mark.parametrize("kind", ["whl", "tgz"])
def test_a_path_that_leaves_the_folder_is_refused(tmp_path: Path, kind: str, name: str) -> None:
    if kind == "whl":
        archive = make_zip(tmp_path / "p.whl", ("d/good", b""), (name, b"x"))
    else:
        good, evil = tarfile.TarInfo("d/good"), tarfile.TarInfo(name)
        archive = make_tgz(tmp_path / "p.tgz", (good, b""), (evil, b"x"))
    with pytest.raises(AssetError, match="leaves its folder; nothing was unpacked"):
        unpack_archive(archive, "d", ["good"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_a_link_or_a_device_in_a_tgz_is_refused(tmp_path: Path, kind: bytes) -> None:
    link = tarfile.TarInfo("d/good")
    link.type, link.linkname = kind, "/etc/passwd"
    archive = make_tgz(tmp_path / "p.tgz", (link, b""))
    with pytest.raises(AssetError, match=r"'d/good', a link or a device"):
        unpack_archive(archive, "d", ["good"], tmp_path / "out")


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("d/good")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "p.whl", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(AssetError, match="a link or a device"):
        unpack_archive(tmp_path / "p.whl", "d", ["good"], tmp_path / "out")


def test_a_member_over_the_limit_is_refused(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "p.whl", ("d/good", b"x" * 100))
    with pytest.raises(AssetError, match="100 bytes, over the limit of 99"):
        unpack_archive(archive, "d", ["good"], tmp_path / "out", limit=99)


def test_a_member_that_lies_about_its_size_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "p.whl"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("d/good", b"x" * 100_000)
    honest, lying = (100_000).to_bytes(4, "little"), (10).to_bytes(4, "little")
    archive.write_bytes(archive.read_bytes().replace(honest, lying))
    with pytest.raises(AssetError):
        unpack_archive(archive, "d", ["good"], tmp_path / "out", limit=1000)


def test_a_name_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    archive = make_tgz(tmp_path / "p.tgz", (tarfile.TarInfo("d/good"), b"1"), (tarfile.TarInfo("d/good"), b"2"))
    with pytest.raises(AssetError, match="'d/good' twice"):
        unpack_archive(archive, "d", ["good"], tmp_path / "out")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "p.whl", ("d/other", b""))
    with pytest.raises(AssetError, match=r"p\.whl has no d/good"):
        unpack_archive(archive, "d", ["good"], tmp_path / "out")


@pytest.mark.parametrize("name", ["p.whl", "p.tgz"])
def test_a_broken_archive_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x1f\x8b not an archive")
    with pytest.raises(AssetError, match=f"{name} cannot be unpacked"):
        unpack_archive(tmp_path / name, "d", ["good"], tmp_path / "out")
