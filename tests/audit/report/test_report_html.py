"""The page without a browser: numbers, sections, escaping, one file."""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sparring.audit.report import render_html, write_html
from sparring.audit.report.format import grouped, interval, percent
from sparring.audit.report.model import Report
from sparring.errors import RunError

LINKS = {"src", "href", "srcset", "action", "formaction", "data", "poster", "background", "xlink:href", "ping"}
SECTIONS = ("result", "curve", "findings", "classes", "attacks", "gallery", "skipped", "provenance")


Reader = Callable[[Report], Any]


@pytest.fixture
def page(report: Report, read: Reader) -> Any:
    return read(report)


def plain(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", " ")


def test_every_section_is_there(page: Any) -> None:
    ids = [found["id"] for tag, found in page.elements if tag == "section"]
    assert ids == list(SECTIONS)
    assert {f"#{name}" for name in SECTIONS} <= {found["href"] for tag, found in page.elements if tag == "a"}


def test_the_verdict_is_in_plain_words(page: Any, report: Report) -> None:
    assert "When every color value may change by at most 8/255, 3 of 40 images withstand all attacks" in page.text
    assert "Unattacked, 36 are." in page.text
    assert "This is an upper bound" in page.text
    held = report.worst()[1].robust_accuracy
    assert plain(f"{percent(held.share)} 3 of 40 images; 95 % interval {interval(held)}") in page.text


def test_threats_show_the_models_numbers(page: Any, report: Report) -> None:
    rows = page.table("threats")[1:]
    shown = ["L∞ ≤ 4/255", "L∞ ≤ 8/255", "L2 ≤ 0.5"]
    assert rows[0][0] == "No attack"
    assert rows[0][2:5] == ["90.0 %", "76.9–96.0 %", "36 of 40"]
    parts = [part for threat in report.threats for part in threat.epsilons]
    for row, name, part in zip(rows[1:], shown, parts, strict=True):
        held = part.robust_accuracy
        numbers = [percent(held.share), interval(held), f"{held.count} of {held.total}"]
        assert row[0] == name
        assert row[2:] == [plain(text) for text in [*numbers, percent(part.robust_accuracy_uint8.share)]]


def test_attacks_show_the_models_numbers(page: Any, report: Report) -> None:
    rows = [row for row in page.table("attacks")[1:] if len(row) > 1]
    parts = [part for threat in report.threats for radius in threat.epsilons for part in radius.attacks]
    for row, part in zip(rows, parts, strict=True):
        assert row[:4] == [part.attack, part.access, grouped(part.asked), grouped(part.fell)]
        assert row[4:6] == [plain(percent(part.success_rate)), plain(percent(part.robust_accuracy_after))]
        assert row[6:8] == (["0.0123", f"{part.fell - 1} of {part.fell}"] if part.fell else ["–", "–"])
        assert row[8:11] == ["7", "3", "12.3 s"]
        assert row[11] == f"{part.asked - part.fell} outlasted it"


def test_an_attack_with_nothing_left_says_so(report: Report, read: Reader) -> None:
    content = report.model_dump()
    content["threats"][0]["epsilons"][0]["attacks"][1] |= {
        "asked": 0,
        "fell": 0,
        "success_rate": None,
        "median_size": None,
        "forwards": 0,
        "backwards": 0,
        "reasons": {},
    }
    row = read(Report.model_validate(content)).table("attacks")[3]
    assert row[2:] == ["0", "0", "–", "57.5 %", "–", "–", "–", "–", "12.3 s", "none left to attack"]


def test_dots_of_the_drawing_are_the_data(page: Any, report: Report) -> None:
    dots = [found for tag, found in page.elements if found.get("class") == "point"]
    points = [(threat.curve[-1].eps, point) for threat in report.threats for point in threat.curve]
    for dot, (widest, point) in zip(dots, points, strict=True):
        assert float(dot["cx"]) == pytest.approx(46 + 372 * point.eps / widest, abs=0.01)
        assert float(dot["cy"]) == pytest.approx(20 + 234 * (1 - point.robust_accuracy.share), abs=0.01)
    assert [row[:4] for row in page.table("data")[1:3]] == [
        ["L∞", "0", "90.0 %", "76.9–96.0 %"],
        ["L∞", "4/255", "57.5 %", "42.2–71.5 %"],
    ]


def test_the_gallery_tells_of_every_example(page: Any, report: Report) -> None:
    cards = [found for _, found in page.elements if found.get("class") == "card"]
    assert [card["data-queries"] for card in cards] == ["10", "20", "30", "40"]
    sizes = "L∞ 0.0157, L2 3.5, L1 202, L0 27,648"
    for told in ("tabby 91.2 %", "tiger cat 60.0 %", "perturbation × 60", sizes, "after 20 queries"):
        assert told in page.text
    assert page.text.count("lost on 8-bit rounding") == 1
    pictures = [found["src"] for tag, found in page.elements if tag == "img" and "src" in found]
    assert len(pictures) == 3 * len(report.gallery)


def test_a_clean_audit_says_that_nothing_was_raised(report: Report, read: Reader) -> None:
    page = read(report.model_copy(update={"warnings": [], "gallery": []}))
    assert page.text.count("No check of this audit raised a finding.") == 2
    assert "Not to be relied on" not in page.text
    assert "No image fell: there is no example to show." in page.text
    assert not [tag for tag, _ in page.elements if tag == "dialog"]


def test_data_without_labels_are_said_to_be_so(report: Report, read: Reader) -> None:
    bare = report.data.model_copy(update={"labels": "model", "labelled_count": 0, "clean_accuracy": None})
    page = read(report.model_copy(update={"data": bare}))
    assert "No image came with a label" in page.text
    assert "not whether they are correct" in page.text
    assert "not known" in page.text
    assert "3 of 40 images withstand all attacks and keep the model's own clean prediction" in page.text
    assert "Robust accuracy" not in page.text
    assert "Robust agreement" in page.text


def test_data_with_some_labels_say_how_many(report: Report, read: Reader) -> None:
    some = report.data.model_copy(update={"labels": "mixed", "labelled_count": 30})
    page = read(report.model_copy(update={"data": some}))
    assert "10 images of 40 came without a label" in page.text


def test_an_audit_without_a_threat_claims_nothing(report: Report, read: Reader) -> None:
    page = read(report.model_copy(update={"threats": [], "gallery": []}))
    assert "nothing can be said of the model's robustness" in page.text
    assert "there is no curve" in page.text


def test_skipped_files_and_provenance_are_told(page: Any) -> None:
    told = ("broken.jpg", "truncated after 1,024 bytes", "4 March 2026, 05:06 UTC", "5 min 22 s", "2.13.0")
    hashes = ("ab" * 32, "cd" * 32)
    for text in (*told, *hashes, "--threat linf:4/255,8/255", '"seed": 7', "records.sqlite", "report.json"):
        assert text in page.text


def test_the_page_refers_to_nothing_outside(hostile: Report, tmp_path: Path, read: Reader) -> None:
    text = render_html(hostile, tmp_path)
    for tag, found in read(hostile).elements:
        for name in LINKS & set(found):
            assert found[name].startswith(("#", "data:image/png;base64,")) or (tag, found[name]) == ("link", "data:,")
        assert not [name for name in found if name.startswith("on") or name == "style"]
    style = text.split("<style>")[1].split("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style


def test_only_our_style_and_script_may_run(report: Report, tmp_path: Path, read: Reader) -> None:
    text = render_html(report, tmp_path)
    metas = {found.get("http-equiv"): found["content"] for _, found in read(report).elements if "content" in found}
    policy = metas["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    assert "unsafe" not in policy
    assert text.count("</script>") == text.count("<script>") == 1


def test_the_file_is_whole_without_its_pictures(
    report: Report, written: Callable[[Report], Path], tmp_path: Path
) -> None:
    path = written(report)
    assert path.read_text(encoding="utf-8") == render_html(report, tmp_path)
    assert [one.name for one in tmp_path.iterdir() if one.is_file()] == ["report.html"]


def test_pictures_may_lie_in_another_folder(report: Report, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere"
    other.mkdir()
    write_html(report, other / "page.html", tmp_path)
    assert "data:image/png;base64," in (other / "page.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../secret.png", "lies outside the run folder"),
        ("/etc/passwd", "lies outside the run folder"),
        ("pictures/gone.png", "cannot be read"),
        ("pictures", "cannot be read"),
        ("pictures/page.png", "is not a PNG file"),
    ],
)
def test_a_picture_that_is_none_is_an_error(report: Report, tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "pictures/page.png").write_text("<svg onload='alert(1)'>")
    worse = report.gallery[0].model_copy(update={"adversarial": name})
    with pytest.raises(RunError, match=message) as caught:
        render_html(report.model_copy(update={"gallery": [worse]}), tmp_path)
    assert name in str(caught.value)


def test_a_link_out_of_the_run_folder_is_not_followed(report: Report, tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "pictures").mkdir(parents=True)
    for part in report.gallery[:1]:
        for name in (part.original, part.perturbation, part.adversarial):
            (run / name).symlink_to(tmp_path / name)
    with pytest.raises(RunError, match="lies outside"):
        render_html(report.model_copy(update={"gallery": report.gallery[:1]}), run)


def test_a_full_disk_is_told_and_the_old_report_stays(report: Report, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("the old one")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(RunError, match="cannot be written") as caught:
            write_html(report, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert str(path) in str(caught.value)
    assert path.read_text() == "the old one"
    assert [one.name for one in tmp_path.iterdir() if one.is_file()] == ["report.html"]


def test_a_folder_that_is_not_there_is_made(report: Report, tmp_path: Path) -> None:
    write_html(report, tmp_path / "missing/report.html", tmp_path)
    assert (tmp_path / "missing/report.html").read_text().startswith("<!doctype html>")
