"""Pages are what their records say, to the letter."""

from __future__ import annotations

import pytest
from benchmarks.pages import PAGES
from benchmarks.provenance import ROOT


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_what_its_records_say(name: str) -> None:
    """`python -m benchmarks.pages` makes all of them again."""
    assert (ROOT / "docs" / name).read_text(encoding="utf-8") == PAGES[name]()
