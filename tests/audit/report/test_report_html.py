"""The page without a browser: numbers, sections, escaping, one file."""

from __future__ import annotations

import re
import resource
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from sparring.audit.report import render, write_html
from sparring.audit.report.words import grouped, interval, percent
from sparring.audit.report_model import Report
from sparring.errors import RunError

LINKS = {"src", "href", "srcset", "action", "formaction", "data", "poster", "background", "xlink:href", "ping"}
SECTIONS = ("result", "curve", "attacks", "gallery", "skipped", "provenance")


class Page(HTMLParser):
    """Elements, table rows by the table's class, and the readable text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.rows: dict[str, list[list[str]]] = {}
        self._table, self._hidden, self._words = "", "", [""]
        self.feed(text)
        self.text = re.sub(r"\s+", " ", "".join(self._words))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.elements.append((tag, found))
        if tag in {"style", "script"}:
            self._hidden = tag
        if tag == "table":
            self._table = found["class"]
        if tag == "tr":
            self.rows.setdefault(self._table, []).append([])
        if tag in {"th", "td"}:
            self.rows[self._table][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == self._hidden:
            self._hidden = ""
        if tag == "table":
            self._table = ""

    def handle_data(self, data: str) -> None:
        if self._hidden:
            return
        self._words.append(data)
        if self._table and self.rows.get(self._table) and self.rows[self._table][-1]:
            self.rows[self._table][-1][-1] += data

    def table(self, name: str) -> list[list[str]]:
        return [[re.sub(r"\s+", " ", cell).strip() for cell in row] for row in self.rows[name]]


@pytest.fixture
def page(report: Report, tmp_path: Path) -> Page:
    return Page(render(report, tmp_path))


def plain(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", " ")


def test_every_section_is_there(page: Page) -> None:
    ids = [found["id"] for tag, found in page.elements if tag == "section"]
    assert ids == list(SECTIONS)
    assert {f"#{name}" for name in SECTIONS} <= {found["href"] for tag, found in page.elements if tag == "a"}


def test_the_verdict_is_in_plain_words(page: Page, report: Report) -> None:
    assert "When every color value may change by at most 8/255, 3 of 40 images withstand all attacks" in page.text
    assert "Unattacked, 36 are." in page.text
    assert "This is an upper bound" in page.text
    held = report.worst()[1].robust_accuracy
    assert plain(f"{percent(held.share)} 3 of 40 images; 95 % interval {interval(held)}") in page.text


def test_threats_show_the_models_numbers(page: Page, report: Report) -> None:
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


def test_attacks_show_the_models_numbers(page: Page, report: Report) -> None:
    rows = [row for row in page.table("attacks")[1:] if len(row) > 1]
    parts = [part for threat in report.threats for radius in threat.epsilons for part in radius.attacks]
    for row, part in zip(rows, parts, strict=True):
        assert row[:4] == [part.attack, part.access, grouped(part.asked), grouped(part.fell)]
        assert row[4:6] == [plain(percent(part.success_rate)), plain(percent(part.robust_accuracy_after))]
        assert row[6:8] == (["0.0123", f"{part.fell - 1} of {part.fell}"] if part.fell else ["–", "–"])
        assert row[8:11] == ["7", "3", "12.3 s"]
        assert row[11] == f"{part.asked - part.fell} outlasted it"


def test_an_attack_with_nothing_left_says_so(report: Report, tmp_path: Path) -> None:
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
    row = Page(render(Report.model_validate(content), tmp_path)).table("attacks")[3]
    assert row[2:] == ["0", "0", "–", "57.5 %", "–", "–", "–", "–", "12.3 s", "none left to attack"]


def test_dots_of_the_drawing_are_the_data(page: Page, report: Report) -> None:
    dots = [found for tag, found in page.elements if found.get("class") == "point"]
    points = [(threat.curve[-1].eps, point) for threat in report.threats for point in threat.curve]
    for dot, (widest, point) in zip(dots, points, strict=True):
        assert float(dot["cx"]) == pytest.approx(46 + 372 * point.eps / widest, abs=0.01)
        assert float(dot["cy"]) == pytest.approx(20 + 234 * (1 - point.robust_accuracy.share), abs=0.01)
    assert [row[:4] for row in page.table("data")[1:3]] == [
        ["L∞", "0", "90.0 %", "76.9–96.0 %"],
        ["L∞", "4/255", "57.5 %", "42.2–71.5 %"],
    ]


def test_the_gallery_tells_of_every_example(page: Page, report: Report) -> None:
    cards = [found for _, found in page.elements if found.get("class") == "card"]
    assert [card["data-queries"] for card in cards] == ["10", "20", "30", "40"]
    sizes = "L∞ 0.0157, L2 3.5, L1 202, L0 27,648"
    for told in ("tabby 91.2 %", "tiger cat 60.0 %", "perturbation × 60", sizes, "after 20 queries"):
        assert told in page.text
    assert page.text.count("lost on 8-bit rounding") == 1
    pictures = [found["src"] for tag, found in page.elements if tag == "img" and "src" in found]
    assert len(pictures) == 3 * len(report.gallery)


def test_cautions_come_with_the_gravest_first(page: Page) -> None:
    items = [found.get("class") for tag, found in page.elements if tag == "li"]
    weights = [name for name in items if name in {"severe", "warning", "note"}]
    assert weights == ["severe", "note"]
    for told in ("Gradients are zero.", "40 images are few.", "Take 1,000."):
        assert told in page.text


def test_a_clean_audit_says_that_nothing_was_raised(report: Report, tmp_path: Path) -> None:
    page = Page(render(report.model_copy(update={"warnings": [], "gallery": []}), tmp_path))
    assert "No check of this audit raised a warning." in page.text
    assert "No image fell: there is no example to show." in page.text
    assert not [tag for tag, _ in page.elements if tag == "dialog"]


def test_data_without_labels_are_said_to_be_so(report: Report, tmp_path: Path) -> None:
    bare = report.data.model_copy(update={"labels": "model", "labelled_count": 0, "clean_accuracy": None})
    page = Page(render(report.model_copy(update={"data": bare}), tmp_path))
    assert "No image came with a label" in page.text
    assert "not whether they are correct" in page.text
    assert "not known" in page.text
    assert "3 of 40 images withstand all attacks and keep the model's own clean prediction" in page.text
    assert "Robust accuracy" not in page.text
    assert "Robust agreement" in page.text


def test_data_with_some_labels_say_how_many(report: Report, tmp_path: Path) -> None:
    some = report.data.model_copy(update={"labels": "mixed", "labelled_count": 30})
    page = Page(render(report.model_copy(update={"data": some}), tmp_path))
    assert "10 images of 40 came without a label" in page.text


def test_an_audit_without_a_threat_claims_nothing(report: Report, tmp_path: Path) -> None:
    page = Page(render(report.model_copy(update={"threats": [], "gallery": []}), tmp_path))
    assert "nothing can be said of the model's robustness" in page.text
    assert "there is no curve" in page.text


def test_skipped_files_and_provenance_are_told(page: Page) -> None:
    told = ("broken.jpg", "truncated after 1,024 bytes", "4 March 2026, 05:06 UTC", "5 min 22 s", "2.13.0")
    hashes = ("ab" * 32, "cd" * 32)
    for text in (*told, *hashes, "--threat linf:4/255,8/255", '"seed": 7', "records.sqlite", "report.json"):
        assert text in page.text


def test_foreign_text_adds_no_element_and_no_attribute(hostile: Report, report: Report, tmp_path: Path) -> None:
    harmless, poisoned = Page(render(report, tmp_path)), Page(render(hostile, tmp_path))
    drawn = {"line", "text"}  # an axis has room for fewer long words
    shapes = [[(tag, sorted(found)) for tag, found in one.elements if tag not in drawn] for one in (harmless, poisoned)]
    assert shapes[0] == shapes[1]
    assert "<script>alert(1)</script>" in poisoned.text
    assert "{{ 7 * 7 }}" in poisoned.text
    assert not set("\x00\x1b\u202e\u202c") & set(render(hostile, tmp_path))


def test_the_page_refers_to_nothing_outside(hostile: Report, tmp_path: Path) -> None:
    text = render(hostile, tmp_path)
    for tag, found in Page(text).elements:
        for name in LINKS & set(found):
            assert found[name].startswith(("#", "data:image/png;base64,")) or (tag, found[name]) == ("link", "data:,")
        assert not [name for name in found if name.startswith("on") or name == "style"]
    style = text.split("<style>")[1].split("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style


def test_only_our_style_and_script_may_run(report: Report, tmp_path: Path) -> None:
    text = render(report, tmp_path)
    metas = {found.get("http-equiv"): found["content"] for _, found in Page(text).elements if "content" in found}
    policy = metas["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    assert "unsafe" not in policy
    assert text.count("</script>") == text.count("<script>") == 1


def test_foreign_words_stay_short(endless: Report, report: Report, tmp_path: Path) -> None:
    added = len(Page(render(endless, tmp_path)).text) - len(Page(render(report, tmp_path)).text)
    assert added < 60_000


def test_the_file_is_whole_without_its_pictures(
    report: Report, written: Callable[[Report], Path], tmp_path: Path
) -> None:
    path = written(report)
    assert path.read_text(encoding="utf-8") == render(report, tmp_path)
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
        render(report.model_copy(update={"gallery": [worse]}), tmp_path)
    assert name in str(caught.value)


def test_a_link_out_of_the_run_folder_is_not_followed(report: Report, tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "pictures").mkdir(parents=True)
    for part in report.gallery[:1]:
        for name in (part.original, part.perturbation, part.adversarial):
            (run / name).symlink_to(tmp_path / name)
    with pytest.raises(RunError, match="lies outside"):
        render(report.model_copy(update={"gallery": report.gallery[:1]}), run)


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


def test_a_folder_that_is_not_there_is_told(report: Report, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="choose another folder"):
        write_html(report, tmp_path / "missing/report.html", tmp_path)
