"""The README lists every attack, and every attack is known to the command line."""

import inspect
from pathlib import Path

import pytest

from sparring import attacks
from sparring.access import Attack

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
COMBINATORS = {"Restarts", "Rivals", "Cascade", "Transferred"}


@pytest.mark.parametrize("name", [name for name in attacks.__all__ if name not in ("table", "Rule", "kurakin_steps")])
def test_the_readme_lists_every_attack(name):
    assert f"`{name}`" in README[README.index("## Attacks") :]


def test_the_command_line_knows_every_attack():
    exported = {value for name in attacks.__all__ if inspect.isclass(value := getattr(attacks, name))}
    every = {kind for kind in exported if issubclass(kind, Attack)}
    assert set(attacks.table.values()) == {kind for kind in every if kind.__name__ not in COMBINATORS}


@pytest.mark.parametrize("kind", attacks.table.values(), ids=attacks.table)
def test_every_file_names_its_paper(kind):
    assert "arXiv:" in inspect.getmodule(kind).__doc__
