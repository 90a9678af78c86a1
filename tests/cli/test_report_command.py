"""`sparring report`: figures, and names on the disk that would like to be markup."""

from __future__ import annotations

import json
import re

import numpy as np
from PIL import Image

FOLDERS = ("<img src=x onerror=alert(1)>", "=1+1", "{{ 7 * 7 }}", "\u202egnp.exe")
FILE = '"><script>alert(2)<.png'


def test_figures_are_written_on_request_and_told(audited, typed, tmp_path):
    assert audited("--suite", "quick", "--accept", "low-clean-accuracy").exit_code in (0, 1)
    assert not (tmp_path / "run" / "figures").exists()
    result = typed("report", tmp_path / "run", "--figures")
    assert result.exit_code == 0, result.stderr
    names = ["curve-linf.pdf", "curve-linf.png", "gallery.pdf", "gallery.png"]
    assert sorted(path.name for path in (tmp_path / "run" / "figures").iterdir()) == names
    assert result.stdout.count("figure: ") == 4


def test_a_folder_without_a_run_gives_no_figures(typed, tmp_path):
    result = typed("report", tmp_path, "--figures")
    assert result.exit_code == 2
    assert "holds no run" in result.stderr


def test_names_on_the_disk_are_shown_and_stay_names(typed, user, tmp_path):
    generator = np.random.default_rng(7)
    for folder in FOLDERS:
        (tmp_path / "<b>data" / folder).mkdir(parents=True)
        for i in range(3):
            pixels = generator.integers(0, 256, (6, 6), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "<b>data" / folder / f"{i}{FILE}")
    (tmp_path / "<b>data" / FOLDERS[0] / "<i>broken.png").write_bytes(b"no picture")
    data, out = f"folder:{tmp_path / '<b>data'}", tmp_path / "<u>run"
    words = ("--threat", "linf:0.3", "--out", out, "--suite", "quick", "--steps", 10, "--restarts", 1, "--queries", 5)
    result = typed("audit", user[0], data, *words, "--size", 6, "--channels", 1, "--classes", 4)
    assert result.exit_code == 1, result.stderr
    assert "the severe finding low-clean-accuracy is open" in result.stderr
    text = (out / "report.html").read_text(encoding="utf-8")
    for tag in ("<img src=x", "<script>alert", "<i>broken", "<b>data", "<u>run", "\u202e"):
        assert tag not in text
    assert "&lt;i&gt;broken.png" in text
    assert "{{ 7 * 7 }}" in text
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert {one["name"] for one in report["per_class"]} <= {*FOLDERS, *"0123"}
    assert report["gallery"]
    for one in report["gallery"]:
        for kind in ("original", "perturbation", "adversarial"):
            assert re.fullmatch(rf"pictures/[0-9a-z-]+-{kind}\.png", one[kind])


def test_a_report_may_go_elsewhere_with_its_pictures_and_figures(audited, typed, tmp_path):
    assert audited("--accept", "low-clean-accuracy").exit_code in (0, 1)
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "run").rglob("*")}
    result = typed("report", tmp_path / "run", "--out", tmp_path / "other", "--figures")
    assert result.exit_code == 0, result.stderr
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "run").rglob("*")} == before
    assert (tmp_path / "other" / "report.html").read_text() == (tmp_path / "run" / "report.html").read_text()
    assert list((tmp_path / "other" / "figures").iterdir())
    (tmp_path / "file").touch()
    assert "--out" in typed("report", tmp_path / "run", "--out", tmp_path / "file").stderr
    assert audited("--out", tmp_path / "second").exit_code in (0, 1)
    refused = typed("report", tmp_path / "run", "--out", tmp_path / "second")
    assert (refused.exit_code, "holds a run of its own" in refused.stderr) == (2, True)


def test_an_export_overwrites_nothing_of_the_run(audited, typed, tmp_path):
    assert audited("--accept", "low-clean-accuracy").exit_code in (0, 1)
    before = (tmp_path / "run" / "records.sqlite").read_bytes()
    for name in ("records.sqlite", "report.json", "examples/rows.csv"):
        result = typed("export", tmp_path / "run", "--to", "csv", "--out", tmp_path / "run" / name)
        assert (result.exit_code, "lies among the files of the run" in result.stderr) == (2, True)
    assert (tmp_path / "run" / "records.sqlite").read_bytes() == before
    (tmp_path / "folder").mkdir()
    result = typed("export", tmp_path / "run", "--to", "csv", "--out", tmp_path / "folder")
    assert (result.exit_code, "folder" in result.stderr) == (2, True)
