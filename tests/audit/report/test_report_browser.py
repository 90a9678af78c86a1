"""The page in Chromium: filter, sort, zoom, keyboard, phone, dark, print, no script but ours, no request."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sparring.audit.report.model import Report
from sparring.zoo import assets

pytestmark = pytest.mark.browser
PHONE = {"width": 375, "height": 812}
DESK = {"width": 1280, "height": 900}


class Visit:
    """A page, and what it tried to load or to say."""

    def __init__(self, context: Any, path: Path) -> None:
        self.requests: list[str] = []
        self.dialogs: list[str] = []
        self.errors: list[str] = []
        self.page = context.new_page()
        self.page.on("dialog", self._refuse)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda told: self.errors.append(told.text))
        context.route("**/*", self._judge)
        self.address = path.as_uri()
        self.page.goto(self.address)

    def _refuse(self, dialog: Any) -> None:
        self.dialogs.append(dialog.message)
        dialog.dismiss()

    def _judge(self, route: Any) -> None:
        self.requests.append(route.request.url)
        if route.request.url == self.address:
            route.continue_()
        else:
            route.abort()


@pytest.fixture
def visit(browser: Any, written: Callable[[Report], Path]) -> Iterator[Callable[..., Visit]]:
    contexts = []

    def go(report: Report, **options: Any) -> Visit:
        contexts.append(browser.new_context(**{"viewport": DESK, "reduced_motion": "reduce"} | options))
        return Visit(contexts[-1], written(report))

    yield go
    for context in contexts:
        context.close()


@pytest.fixture
def page(visit: Callable[..., Visit], report: Report) -> Any:
    return visit(report).page


def names(page: Any) -> list[str]:
    """File names of the cards that can be seen, in order."""
    return [card.locator(".file").inner_text() for card in page.locator(".card:visible").all()]


def test_filters_keep_what_was_asked_for(page: Any) -> None:
    assert page.locator("#gallery-count").inner_text() == "4 of 4 examples shown"
    page.get_by_label("Attack", exact=True).select_option("Square")
    assert names(page) == ["dog.jpg"]
    assert page.locator("#gallery-count").inner_text() == "1 of 4 examples shown"
    page.get_by_label("Attack", exact=True).select_option("")
    page.get_by_label("Threat", exact=True).select_option(label="L∞ ≤ 8/255")
    assert names(page) == ["owl.jpg"]
    page.get_by_label("Threat", exact=True).select_option("")
    page.get_by_label("Class or file").fill("LYNX")
    assert names(page) == ["owl.jpg", "elk.jpg"]
    page.get_by_label("Class or file").fill("walrus")
    assert names(page) == []
    assert page.locator("#gallery-count").inner_text() == "No example fits: widen the filter"


def test_sorting_goes_by_confidence_size_and_queries(page: Any) -> None:
    order = page.get_by_label("Sort by")
    ordered = {
        "-p1": ["elk.jpg", "owl.jpg", "dog.jpg", "cat.jpg"],
        "order": ["cat.jpg", "dog.jpg", "owl.jpg", "elk.jpg"],
    }
    ordered |= {"l2": ordered["-p1"], "queries": ordered["order"]}
    for key, expected in ordered.items():
        order.select_option(key)
        assert names(page) == expected


def test_zoom_opens_by_click_and_closes_with_escape(page: Any) -> None:
    button = page.locator(".card").nth(1).locator(".shot button").nth(2)
    button.click()
    assert page.locator("#zoom").is_visible()
    assert page.locator("#zoom-title").inner_text().startswith("tabby\N{NO-BREAK SPACE}91.2")
    assert page.locator("#zoom-file").inner_text() == "dog.jpg, example 2 of 4"
    assert page.locator("#zoom-picture").get_attribute("src") == button.locator("img").get_attribute("src")
    page.keyboard.press("Escape")
    assert not page.locator("#zoom").is_visible()
    assert button.evaluate("it => it === document.activeElement")


def test_zoom_opens_by_enter_and_its_keys_work(page: Any) -> None:
    page.locator(".shot button").first.focus()
    page.keyboard.press("Enter")
    told = page.locator("#zoom-file")
    assert told.inner_text() == "cat.jpg, example 1 of 4"
    page.keyboard.press("ArrowRight")
    assert told.inner_text() == "dog.jpg, example 2 of 4"
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert told.inner_text() == "elk.jpg, example 4 of 4"
    for key, kind in (("2", "Perturbation"), ("3", "Adversarial"), ("1", "Original")):
        page.keyboard.press(key)
        assert page.locator("#zoom [aria-pressed=true]").inner_text() == kind


def test_zoom_shows_hard_pixels_at_whole_multiples(page: Any) -> None:
    page.locator(".shot button").first.click()
    picture = page.locator("#zoom-picture")
    assert picture.evaluate("it => getComputedStyle(it).imageRendering") == "pixelated"
    assert picture.bounding_box()["width"] % 28 == 0
    for _ in range(10):
        page.keyboard.press("+")
    assert page.locator("#zoom-scale").inner_text() == "32 ×"
    assert picture.bounding_box()["width"] == 32 * 28
    page.keyboard.press("-")
    assert picture.bounding_box()["width"] == 24 * 28


def test_zoom_walks_through_what_the_filter_left(page: Any) -> None:
    page.get_by_label("Class or file").fill("lynx")
    page.locator(".shot button:visible").first.click()
    assert page.locator("#zoom-file").inner_text() == "owl.jpg, example 1 of 2"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.locator("#zoom-file").inner_text() == "owl.jpg, example 1 of 2"


def test_the_zoom_can_be_closed_on_a_phone(visit: Callable[..., Visit], endless: Report) -> None:
    page = visit(endless, viewport=PHONE).page
    page.locator(".shot button").first.click()
    close = page.get_by_role("button", name="Close")
    assert close.evaluate("it => it.scrollHeight") < 45
    assert close.bounding_box()["x"] + close.bounding_box()["width"] <= PHONE["width"]
    close.click()
    assert not page.locator("#zoom").is_visible()


def test_arrows_go_from_picture_to_picture(page: Any) -> None:
    page.locator(".shot button").first.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.ariaLabel") == "Zoom: Original, tabby 91.2 % → tiger cat 60.0 %"
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("document.activeElement.ariaLabel").startswith("Zoom: Adversarial example")


FOCUSED = """() => {
    const it = document.activeElement;
    if (it === document.body) return null;
    const by = (ids) => ids.split(" ").map((id) => document.getElementById(id).textContent).join(" ");
    const label = it.labels && it.labels.length ? it.labels[0].textContent : "";
    const name = it.ariaLabel || (it.getAttribute("aria-labelledby") && by(it.getAttribute("aria-labelledby")));
    const box = it.getBoundingClientRect();
    return [it.outerHTML.slice(0, 200), (name || label || it.textContent).trim(), box.width * box.height];
}"""
REACHED = "a[href], button, input, select, summary, [tabindex='0']"


def test_every_control_is_reached_by_tab_and_has_a_name(page: Any) -> None:
    controls = page.locator(REACHED)
    wanted = [one for one in controls.all() if one.is_visible() or one.get_attribute("class") == "skip"]
    seen = []
    for _ in range(len(wanted) + 5):
        page.keyboard.press("Tab")
        found = page.evaluate(FOCUSED)
        if found is None:
            break
        seen.append(found)
    assert len(seen) == len(wanted) > 30
    assert [element for element, name, _ in seen if not name] == []
    assert [element for element, _, area in seen if area == 0] == []


def test_the_first_tab_skips_to_the_result(page: Any) -> None:
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the result"
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#result"


def test_the_result_is_on_the_first_screen(page: Any, visit: Callable[..., Visit], report: Report) -> None:
    def lower_edge(where: Any, selector: str) -> float:
        box = where.locator(selector).first.bounding_box()
        return float(box["y"] + box["height"])

    assert lower_edge(page, ".threats") < DESK["height"]
    assert lower_edge(page, ".cautions") < DESK["height"]
    phone = visit(report, viewport=PHONE).page
    assert lower_edge(phone, ".main-figure") < PHONE["height"]


def class_names(page: Any) -> list[str]:
    return [row.locator("th").inner_text().split()[0] for row in page.locator("#classes-table tbody tr:visible").all()]


def test_classes_are_sorted_by_a_click_on_their_column(page: Any) -> None:
    assert class_names(page) == ["dog", "cat", "2"]
    heads = page.locator("#classes-table thead th")
    orders = {"Clean": ["2", "dog", "cat"], "Images": ["dog", "2", "cat"], "Class": ["2", "cat", "dog"]}
    for name, order in orders.items():
        head = heads.filter(has_text=name)
        head.locator("button").click()
        assert class_names(page) == order
        assert head.get_attribute("aria-sort") == "ascending"
    head.locator("button").press("Enter")
    assert class_names(page) == ["dog", "cat", "2"]
    assert head.get_attribute("aria-sort") == "descending"
    assert page.locator("#classes-table [aria-sort]").count() == 1


@pytest.fixture
def crowded(report: Report) -> Report:
    """The same audit with 60 classes, of which the first is the worst."""
    base = report.per_class[0]
    named = [{"label": i, "name": f"kind {i}", "standing": [13, 1, 14 + i / 100]} for i in range(60)]
    many = [base.model_copy(update=one) for one in named]
    return report.model_copy(update={"per_class": many})


def test_many_classes_are_capped_and_all_can_be_seen(visit: Callable[..., Visit], crowded: Report) -> None:
    page = visit(crowded).page
    rows, count = page.locator("#classes-table tbody tr:visible"), page.locator("#classes-count")
    assert rows.count() == 20
    assert count.inner_text() == "20 of 60 classes shown"
    page.get_by_role("button", name="Show all 60 classes").click()
    assert rows.count() == 60
    page.get_by_role("button", name="Show the first 20 only").click()
    page.locator("#classes-table thead th").nth(5).locator("button").click()
    page.locator("#classes-table thead th").nth(5).locator("button").click()
    assert rows.first.locator("th").inner_text() == "kind 59 59"
    assert rows.count() == 20


def test_a_class_is_found_by_its_name(visit: Callable[..., Visit], crowded: Report) -> None:
    page = visit(crowded).page
    rows, count = page.locator("#classes-table tbody tr:visible"), page.locator("#classes-count")
    page.get_by_label("Find a class").fill("KIND 59")
    assert rows.locator("th").all_inner_texts() == ["kind 59 59"]
    assert count.inner_text() == "1 of 60 classes shown"
    assert not page.locator("#classes-all").is_visible()
    page.get_by_label("Find a class").fill("")
    assert rows.count() == 20


def test_the_command_is_copied_as_it_was_typed(visit: Callable[..., Visit], report: Report) -> None:
    page = visit(report, permissions=["clipboard-read", "clipboard-write"]).page
    page.get_by_role("button", name="Copy the command").click()
    page.get_by_text("Copied", exact=True).wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == report.provenance.command


def test_where_copying_is_forbidden_the_command_is_marked(visit: Callable[..., Visit], report: Report) -> None:
    page = visit(report).page
    page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('forbidden')); }")
    page.get_by_role("button", name="Copy the command").click()
    page.get_by_text("Marked: press Ctrl+C").wait_for()
    assert page.evaluate("getSelection().toString()") == report.provenance.command


def lightness(page: Any, selector: str, style: str) -> float:
    color = page.locator(selector).first.evaluate(f"it => getComputedStyle(it).{style}")
    return sum(int(part) for part in re.findall(r"\d+", color)[:3]) / 765


@pytest.mark.parametrize(("scheme", "dark"), [("light", False), ("dark", True)])
def test_colors_follow_the_readers_scheme(visit: Callable[..., Visit], report: Report, scheme: str, dark: bool) -> None:
    page = visit(report, color_scheme=scheme).page
    paper, ink = lightness(page, "body", "backgroundColor"), lightness(page, "body", "color")
    assert (paper < 0.15 and ink > 0.85) if dark else (paper > 0.95 and ink < 0.15)
    assert abs(lightness(page, ".axis", "stroke") - paper) > 0.3


@pytest.mark.parametrize("content", ["report", "endless", "hostile_views", "hostile_proofs", "nearest"])
def test_nothing_scrolls_sideways(visit: Callable[..., Visit], content: str, request: pytest.FixtureRequest) -> None:
    page = visit(request.getfixturevalue(content)).page
    for width in (1280, 768, 390, 320):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    if page.locator(".shot button").count():
        page.locator(".shot button").first.click()
        assert page.evaluate("document.getElementById('zoom').scrollWidth") <= 320


@pytest.mark.parametrize("content", ["hostile", "hostile_views"])
def test_foreign_text_runs_nothing_and_nothing_leaves(
    visit: Callable[..., Visit], content: str, request: pytest.FixtureRequest
) -> None:
    seen = visit(request.getfixturevalue(content))
    page = seen.page
    for control in ("#by-attack", "#by-threat"):
        value = page.locator(f"{control} option").nth(1).get_attribute("value")
        page.locator(control).select_option(value)
    assert page.locator(".card:visible").count() > 0
    page.locator(".shot button:visible").first.click()
    for key in ("2", "+", "ArrowRight", "Escape"):
        page.keyboard.press(key)
    page.locator("summary").first.click()
    page.get_by_label("Find a class").fill("<img src=x>", force=True)
    for button in page.locator("#classes-table th button, #copy").all():
        button.click()
    page.wait_for_load_state("networkidle")
    assert (seen.requests, seen.dialogs, seen.errors) == ([seen.address], [], [])


def test_a_picture_from_elsewhere_would_be_refused(visit: Callable[..., Visit], report: Report) -> None:
    seen = visit(report)
    refused = seen.page.evaluate(
        """() => new Promise(resolve => {
            document.addEventListener("securitypolicyviolation", event => resolve(event.blockedURI));
            const image = document.createElement("img");
            image.src = "https://evil.example/x.png";
            document.body.append(image);
        })"""
    )
    assert refused == "https://evil.example/x.png"
    assert seen.requests == [seen.address]


def test_without_scripts_the_page_is_a_plain_list(visit: Callable[..., Visit], report: Report) -> None:
    page = visit(report, java_script_enabled=False).page
    assert page.locator(".card").count() == 4
    assert page.locator(".card img").count() == 12
    assert page.locator("#classes-table tbody tr:visible").count() == 3
    assert page.locator("button:visible, select:visible, input:visible").count() == 0


def test_print_shows_what_is_folded_and_drops_the_controls(visit: Callable[..., Visit], crowded: Report) -> None:
    page = visit(crowded, color_scheme="dark").page
    assert page.locator("details[open]").count() == 0
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details[open]").count() == page.locator("details").count() == 3
    page.emulate_media(media="print")
    for control in ("#gallery-controls", "#classes-controls", "#copy"):
        assert not page.locator(control).is_visible()
    assert lightness(page, "body", "backgroundColor") == 1
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details[open]").count() == 0


@pytest.mark.parametrize(
    ("content", "scheme", "viewport"),
    [
        ("report", "light", DESK),
        ("report", "dark", DESK),
        ("report", "light", PHONE),
        ("defended", "dark", PHONE),
        ("nearest", "light", DESK),
        ("proven", "light", PHONE),
        ("proven", "dark", DESK),
        ("crowded", "dark", DESK),
    ],
)
def test_axe_finds_no_serious_fault(
    visit: Callable[..., Visit], content: str, scheme: str, viewport: dict[str, int], request: pytest.FixtureRequest
) -> None:
    script = assets.cache_folder() / "axe-core" / "axe.min.js"
    if not script.is_file():
        pytest.skip("needs axe-core: run 'make assets'")
    page = visit(request.getfixturevalue(content), color_scheme=scheme, viewport=viewport).page
    page.evaluate(script.read_text(encoding="utf-8"))
    for folded in page.locator("summary").all():
        folded.click()
    assert grave_faults(page) == []
    if content == "report":
        page.locator(".shot button").first.click()
        assert grave_faults(page) == []


def grave_faults(page: Any) -> list[tuple[str, str]]:
    """What axe calls serious or critical, with the first element of each."""
    faults = page.evaluate("axe.run()")["violations"]
    return [(one["id"], one["nodes"][0]["html"]) for one in faults if one["impact"] in {"serious", "critical"}]
