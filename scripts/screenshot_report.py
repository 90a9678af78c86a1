"""A picture of a report as Chromium shows it: `python scripts/screenshot_report.py REPORT.html OUT.png`.

`--part gallery` takes one section (result, curve, findings, classes, attacks, gallery, provenance), `--whole` the full
page; without either the first screen. An OUT.pdf is the page as it is printed. Needs the `test` extra and Chromium
(`$CHROMIUM`, or `chromium` on the path).
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright


def main() -> int:
    options = _parser().parse_args()
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if not chromium:
        print("needs Chromium: apt-get install chromium", file=sys.stderr)
        return 2
    if not options.report.is_file():
        print(f"no report at {options.report}", file=sys.stderr)
        return 2
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"], headless=True
        )
        _shoot(browser, options)
        browser.close()
    return 0


def _shoot(browser: Browser, options: argparse.Namespace) -> None:
    page = browser.new_page(
        viewport={"width": options.width, "height": options.height},
        color_scheme="dark" if options.dark else "light",
        device_scale_factor=options.scale,
        offline=True,
    )
    page.goto(options.report.resolve().as_uri())
    if options.out.suffix == ".pdf":
        page.pdf(path=options.out, format="A4", prefer_css_page_size=True)
    elif options.part:
        page.locator(f"#{options.part}").screenshot(path=options.out)
    else:
        page.screenshot(path=options.out, full_page=options.whole)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("report", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=900)
    parser.add_argument("--scale", type=float, default=1.0, help="device pixels for one CSS pixel")
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--whole", action="store_true", help="the full page")
    parser.add_argument("--part", help="the id of one section")
    return parser


if __name__ == "__main__":
    sys.exit(main())
