"""The page of LiDAR is what its records say."""

from benchmarks.lidar import page
from benchmarks.provenance import ROOT


def test_the_page_is_made_of_its_records():
    assert (ROOT / "docs" / "lidar.md").read_text(encoding="utf-8") == page.text()
