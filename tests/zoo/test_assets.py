"""Fetching: real pip on a local folder of wheels, and a stand-in for npm; no network."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from sparring.errors import AssetError, ConfigError
from sparring.zoo import assets, catalog
from sparring.zoo.pinned import ASSETS, Asset

CONTENT = {"a.bin": b"first", "b.bin": b"second"}
METADATA = "Metadata-Version: 2.1\nName: toypack\nVersion: 1.0\n"
WHEEL = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPARRING_CACHE", str(tmp_path / "cache"))
    for name in ("PIP_CONSTRAINT", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "cache"


@pytest.fixture
def toy(tmp_path: Path) -> Asset:
    """An asset in a wheel that pip finds in a local folder."""
    wheels, source = tmp_path / "wheels", tmp_path / "source"
    wheels.mkdir()
    source.mkdir()
    wheel = wheels / "toypack-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in CONTENT.items():
            archive.writestr(f"toypack/data/{name}", content)
            (source / name).write_bytes(content)
        archive.writestr("toypack-1.0.dist-info/METADATA", METADATA)
        archive.writestr("toypack-1.0.dist-info/WHEEL", WHEEL)
        archive.writestr("toypack-1.0.dist-info/RECORD", "")
    return Asset(
        name="toy",
        what="two files",
        registry="PyPI",
        package="toypack",
        version="1.0",
        sha256=sha256(wheel.read_bytes()),
        folder="toypack/data",
        files=tuple(CONTENT),
        files_sha256=assets.files_digest(source, CONTENT) or "",
        license="CC0",
        pip_options=("--no-index", "--find-links", str(wheels)),
    )


@pytest.fixture
def npm_toy(toy: Asset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Asset:
    """The same files in a tgz that a stand-in for npm brings."""
    packed, tools = tmp_path / "toypack-1.0.tgz", tmp_path / "bin"
    with tarfile.open(packed, "w:gz") as archive:
        for name, content in CONTENT.items():
            info = tarfile.TarInfo(f"package/data/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    tools.mkdir()
    (tools / "npm").write_text(
        f'#!/bin/sh\n[ "$1 $2 $3" = "pack toypack@1.0 --pack-destination" ] && cp {packed} "$4"\n'
    )
    (tools / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", str(tools), prepend=os.pathsep)
    return replace(toy, registry="npm", folder="package/data", sha256=sha256(packed.read_bytes()), pip_options=())


def test_a_missing_asset_says_the_command_that_brings_it(toy: Asset) -> None:
    with pytest.raises(
        AssetError, match=r"toy is not here \(two files; toypack 1\.0 from PyPI\); run: sparring zoo get toy"
    ):
        assets.locate_asset("toy", {"toy": toy})


def test_pip_brings_an_asset(toy: Asset, cache: Path) -> None:
    folder = assets.fetch_asset("toy", {"toy": toy})
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == CONTENT
    assert assets.locate_asset("toy", {"toy": toy}) == folder
    assert [entry.name for entry in cache.iterdir()] == [toy.directory]


def test_npm_brings_an_asset(npm_toy: Asset, cache: Path) -> None:
    folder = assets.fetch_asset("toy", {"toy": npm_toy})
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == CONTENT
    assert folder.parent == cache


def test_a_wrong_checksum_keeps_nothing(toy: Asset, cache: Path) -> None:
    wrong = replace(toy, sha256="0" * 64)
    with pytest.raises(AssetError, match=r"toypack-1\.0-py3-none-any\.whl: checksum \w{64} is not the pinned 0{64}"):
        assets.fetch_asset("toy", {"toy": wrong})
    assert list(cache.iterdir()) == []


def test_other_files_than_the_pinned_ones_keep_nothing(toy: Asset, cache: Path) -> None:
    with pytest.raises(AssetError, match="its files are not the pinned ones"):
        assets.fetch_asset("toy", {"toy": replace(toy, files_sha256="0" * 64)})
    assert list(cache.iterdir()) == []


def test_a_damaged_cache_is_fetched_again(toy: Asset) -> None:
    folder = assets.fetch_asset("toy", {"toy": toy})
    (folder / "a.bin").write_bytes(b"spoiled")
    with pytest.raises(AssetError, match="is not here"):
        assets.locate_asset("toy", {"toy": toy})
    assert (assets.fetch_asset("toy", {"toy": toy}) / "a.bin").read_bytes() == CONTENT["a.bin"]


def test_a_package_that_pip_does_not_find_is_named(toy: Asset) -> None:
    with pytest.raises(AssetError, match=r"toy: `.*pip download .*toypack==9\.9` failed: .*toypack==9\.9"):
        assets.fetch_asset("toy", {"toy": replace(toy, version="9.9")})


def test_npm_that_is_not_installed_is_named(npm_toy: Asset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    with pytest.raises(AssetError, match="toy comes through npm, which is not installed"):
        assets.fetch_asset("toy", {"toy": npm_toy})


def test_an_installed_package_comes_before_the_cache(
    toy: Asset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = tmp_path / "site" / "toypack" / "data"
    inside.mkdir(parents=True)
    (tmp_path / "site" / "toypack" / "__init__.py").write_text("raise RuntimeError('imported')")
    for name, content in CONTENT.items():
        (inside / name).write_bytes(content)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    installed = replace(toy, module="toypack")
    assert assets.locate_asset("toy", {"toy": installed}) == inside
    (inside / "a.bin").write_bytes(b"another version")
    assert assets.fetch_asset("toy", {"toy": installed}).name == toy.directory


def test_a_killed_fetch_leaves_nothing_half(npm_toy: Asset, tmp_path: Path, cache: Path) -> None:
    tool = tmp_path / "bin" / "npm"
    honest = tool.read_text()
    tool.write_text('#!/bin/sh\necho half > "$4/toypack-1.0.tgz"\nkill -9 $PPID\n')
    imports = "from sparring.zoo import assets; from sparring.zoo.pinned import Asset"
    code = f"{imports}; assets.fetch_asset('toy', {{'toy': {npm_toy!r}}})"
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == -signal.SIGKILL
    with pytest.raises(AssetError, match="is not here"):
        assets.locate_asset("toy", {"toy": npm_toy})
    [left] = cache.iterdir()
    os.utime(left, (time.time() - assets.STALE_SECONDS - 1,) * 2)
    tool.write_text(honest)
    assert assets.fetch_asset("toy", {"toy": npm_toy}).name == npm_toy.directory
    assert [entry.name for entry in cache.iterdir()] == [npm_toy.directory]


def test_a_cache_that_cannot_be_written_is_named(toy: Asset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SPARRING_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(AssetError, match=r"toy cannot be written to .*/file/cache .*set SPARRING_CACHE"):
        assets.fetch_asset("toy", {"toy": toy})


def test_an_unknown_name_gets_the_nearest_one() -> None:
    with pytest.raises(ConfigError, match=r"the zoo has no 'fotos' .* Did you mean 'photos'\?"):
        catalog.get("fotos")


def test_every_name_of_the_zoo_has_its_asset() -> None:
    entries = {**catalog.MODELS, **catalog.DATA}
    assert {asset for entry in entries.values() for asset in entry.assets} == set(ASSETS)
    assert catalog.get("mnist-plain") == catalog.WEIGHTS
    assert catalog.models().keys() == catalog.MODELS.keys()
    assert all(catalog.data().values())


def test_getting_a_model_brings_all_that_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[str] = []

    def fetch(name: str) -> Path:
        fetched.append(name)
        return Path(name)

    monkeypatch.setattr(assets, "fetch_asset", fetch)
    assert catalog.get("face-dlib") == Path("face-api")
    assert fetched == ["face-api", "human"]  # the net, and the detector
    assert catalog.get("human") == Path("human")  # as the error of a missing asset says


def test_the_catalog_needs_no_torch() -> None:
    code = "import sys; from sparring import zoo; zoo.models(); zoo.data(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", ASSETS)
def test_the_pinned_table_is_whole(name: str) -> None:
    pinned = ASSETS[name]
    assert len(pinned.sha256) == len(pinned.files_sha256) == 64
    assert len(set(pinned.files)) == len(pinned.files) > 0
    assert pinned.license
