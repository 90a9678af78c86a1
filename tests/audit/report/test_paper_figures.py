"""Figures for a paper: what is written, what is drawn, and what is refused."""

from __future__ import annotations

import re
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sparring.audit.report.model import Report
from sparring.audit.report.paper_figures import paper_figures
from sparring.errors import RunError

CURVES = ["curve-linf.pdf", "curve-linf.png", "curve-l2.pdf", "curve-l2.png"]
STRIP = ["gallery.pdf", "gallery.png"]


def saved(report: Report, folder: Path) -> Path:
    (folder / "report.json").write_text(report.model_dump_json())
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, build: Callable[[Path], Report]) -> list[Path]:
    """The figures of the audit that `report` is."""
    folder = tmp_path_factory.mktemp("run")
    return paper_figures(saved(build(folder), folder))


def test_a_pair_of_files_for_each_norm_and_for_the_gallery(made: list[Path]) -> None:
    assert [path.name for path in made] == CURVES + STRIP
    folder = made[0].parent
    assert folder.name == "figures"
    assert sorted(path.name for path in folder.iterdir()) == sorted(CURVES + STRIP)
    for path in made:
        assert path.read_bytes().startswith(b"%PDF-" if path.suffix == ".pdf" else b"\x89PNG")


def test_a_curve_is_as_wide_as_a_column(made: list[Path]) -> None:
    box = re.search(rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", made[0].read_bytes())
    assert box is not None
    assert float(box[1]) / 72 == pytest.approx(3.3)
    with Image.open(made[1]) as drawn:
        assert drawn.width == pytest.approx(3.3 * 300, abs=1)


def test_the_fonts_are_embedded_as_truetype(made: list[Path]) -> None:
    pdf = made[0].read_bytes()
    assert b"/FontFile2" in pdf
    assert b"/Type3" not in pdf


def test_the_same_report_gives_the_same_bytes(made: list[Path], report: Report, tmp_path: Path) -> None:
    again = paper_figures(saved(report, tmp_path))
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in made]


@pytest.fixture
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few dots an inch, where only the words matter."""
    monkeypatch.setattr("sparring.audit.report.paper_figures.DPI", 40)


def drawn_lines(path: Path, color: tuple[int, int, int]) -> int:
    """Dots of about that color."""
    with Image.open(path) as picture:
        dots = np.asarray(picture.convert("RGB")).astype(int)
    return int((abs(dots - np.array(color)).max(axis=2) < 5).sum())


def test_the_naive_attacker_has_a_line_of_his_own(made: list[Path], defended: Report, tmp_path: Path) -> None:
    grey = (0x5B, 0x5F, 0x66)
    assert drawn_lines(made[1], grey) == 0
    path = paper_figures(saved(defended, tmp_path), examples=0)[1]
    assert drawn_lines(path, grey) > 300


@pytest.mark.usefixtures("coarse")
def test_smallest_examples_and_no_gallery_give_the_curve_alone(nearest: Report, tmp_path: Path) -> None:
    assert [path.name for path in paper_figures(saved(nearest, tmp_path))] == ["curve-l2.pdf", "curve-l2.png"]


@pytest.mark.parametrize(("examples", "columns"), [(1, 1), (3, 2)])
def test_the_strip_has_at_most_as_many_columns_as_asked_for(
    report: Report, tmp_path: Path, examples: int, columns: int
) -> None:
    alone = report.model_copy(update={"threats": []})
    strip = paper_figures(saved(alone, tmp_path), examples=examples)[-1]
    with Image.open(strip) as drawn:
        assert drawn.width == pytest.approx((0.35 + 1.1 * columns) * 300, abs=1)


@pytest.mark.usefixtures("coarse")
def test_no_examples_give_no_strip(report: Report, tmp_path: Path) -> None:
    assert [path.name for path in paper_figures(saved(report, tmp_path), examples=0)] == CURVES


@pytest.mark.parametrize("content", ["hostile_views", "endless"])
@pytest.mark.usefixtures("coarse")
def test_foreign_names_are_letters_and_nothing_else(
    content: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    paths = paper_figures(saved(request.getfixturevalue(content), tmp_path))
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == sorted(CURVES + STRIP)
    for path in paths:
        if path.suffix == ".pdf":
            assert not re.search(rb"/(JavaScript|JS|OpenAction|URI|Launch|EmbeddedFile)\b", path.read_bytes())


@pytest.mark.usefixtures("coarse")
def test_formulas_and_unknown_letters_are_drawn_as_they_are(report: Report, tmp_path: Path) -> None:
    content = report.model_dump()
    for part in content["gallery"]:
        part["before"]["predicted"]["text"] = "$\\frac{1}{$"
        part["after"]["predicted"]["text"] = "\U00013080 猫 \\input{x}"
    assert len(paper_figures(saved(Report.model_validate(content), tmp_path))) == 6


def bomb(path: Path, side: int) -> None:
    """A PNG of side x side grey dots in a few hundred bytes per million."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)))


@pytest.mark.parametrize("side", [5000, 12_000, 60_000])
def test_a_picture_that_would_fill_the_memory_is_refused(report: Report, tmp_path: Path, side: int) -> None:
    bomb(tmp_path / report.gallery[0].original, side)
    with pytest.raises(RunError, match=re.escape(repr(report.gallery[0].original))):
        paper_figures(saved(report, tmp_path))
    assert not (tmp_path / "figures").exists()


def test_a_damaged_picture_is_named(report: Report, tmp_path: Path) -> None:
    file = tmp_path / report.gallery[0].adversarial
    file.write_bytes(file.read_bytes()[:60])
    with pytest.raises(RunError, match=r"is damaged .* run the audit again"):
        paper_figures(saved(report, tmp_path))


def test_a_picture_outside_the_run_is_not_read(report: Report, tmp_path: Path) -> None:
    content: dict[str, Any] = report.model_dump()
    content["gallery"][0]["original"] = "../../etc/passwd"
    with pytest.raises(RunError, match="lies outside the run folder"):
        paper_figures(saved(Report.model_validate(content), tmp_path))


def test_a_folder_without_a_report_is_told(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="make it with 'sparring report"):
        paper_figures(tmp_path / "nothing")
    (tmp_path / "report.json").write_text('{"format": 1}')
    with pytest.raises(RunError, match="is no report of this version"):
        paper_figures(tmp_path)


def test_a_place_that_is_taken_is_told(report: Report, tmp_path: Path) -> None:
    (tmp_path / "figures").write_text("a file")
    with pytest.raises(RunError, match="cannot be written to"):
        paper_figures(saved(report, tmp_path))


def test_the_report_does_not_need_matplotlib() -> None:
    script = "import sys, sparring.audit.report.paper_figures; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
