"""The README lists every attack, and every attack is known to the command line."""

import inspect
from pathlib import Path

import pytest

from sparring import attacks
from sparring.access import Attack, Shared

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
PLAIN = ("table", "shared_table", "load_artifact", "DecisionRule", "kurakin_steps")
COMBINATORS = {"Restarts", "Rivals", "Cascade", "TransferAttack", "ArtifactAttack"}


@pytest.mark.parametrize("name", [name for name in attacks.__all__ if name not in PLAIN])
def test_the_readme_lists_every_attack(name):
    assert f"`{name}`" in README[README.index("## Attacks") :]


def test_the_command_line_knows_every_attack():
    exported = {value for name in attacks.__all__ if inspect.isclass(value := getattr(attacks, name))}
    every = {kind for kind in exported if issubclass(kind, Attack)}
    assert set(attacks.table.values()) == {kind for kind in every if kind.__name__ not in COMBINATORS}
    assert set(attacks.shared_table.values()) == {kind for kind in exported if issubclass(kind, Shared)}


TABLES = attacks.table | attacks.shared_table


@pytest.mark.parametrize("kind", TABLES.values(), ids=TABLES)
def test_every_file_names_its_paper(kind):
    assert "arXiv:" in inspect.getmodule(kind).__doc__
