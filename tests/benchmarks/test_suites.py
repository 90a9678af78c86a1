"""What the suites ask for: functions that exist, settings that they take, and words that choose a comparison."""

import ast

import pytest
from benchmarks.libraries import LIBRARIES
from benchmarks.provenance import ROOT
from benchmarks.run import _command, _parser, main
from benchmarks.suites import COMPARISONS
from benchmarks.table import NAMES, TITLES

ASKED = [(entry, comparison) for suite in COMPARISONS.values() for comparison in suite for entry in comparison.entries]


def functions(peer: str) -> dict[str, ast.FunctionDef]:
    """By name, read from the text of the peer's file: the peer need not be installed."""
    text = (ROOT / "benchmarks" / "libraries" / f"with_{peer}.py").read_text()
    return {node.name: node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("peer", LIBRARIES)
def test_each_entry_has_a_function_that_takes_its_settings(peer: str) -> None:
    known = functions(peer)
    asked = [(entry, comparison) for entry, comparison in ASKED if entry.peer == peer]
    assert asked
    for entry, comparison in asked:
        taken = known[entry.attack or comparison.attack].args
        names = [argument.arg for argument in taken.kwonlyargs]
        needed = {name for name, default in zip(names, taken.kw_defaults, strict=True) if default is None}
        given = {*comparison.settings, *entry.settings}
        given |= {"eps"} if comparison.eps < float("inf") else set()
        given |= {"queries"} if entry.queries_of else set()
        assert needed <= given <= set(names), f"{entry} on {comparison.net}"


def test_no_function_is_left_that_nobody_asks_for() -> None:
    asked = {(entry.peer, entry.attack or comparison.attack) for entry, comparison in ASKED}
    written = {(peer, name) for peer in LIBRARIES for name in functions(peer) if not name.startswith("_")}
    assert written == asked


def test_each_entry_has_a_name_in_the_tables() -> None:
    assert {entry.peer for entry, _ in ASKED} <= set(NAMES)
    assert {comparison.attack for _, comparison in ASKED} <= set(TITLES)


def test_a_joint_table_has_one_comparison_for_each_attack() -> None:
    """Their rows are told apart by net, norm, radius and attack alone."""
    for suite in ("fixed", "minimum", "autoattack"):
        keys = [(each.net, each.norm, each.eps, each.attack) for each in COMPARISONS[suite]]
        assert len(keys) == len(set(keys))


def test_pgd_from_the_image_has_no_random_start() -> None:
    from_the_image = [each for each in COMPARISONS["fixed"] if each.attack == "pgd_from_the_image"]
    assert len(from_the_image) == 6
    for comparison in from_the_image:
        assert comparison.settings["random_start"] is False
        assert [entry.peer for entry in comparison.entries] == ["foolbox", "torchattacks", "advlib", "art", "sparring"]


@pytest.mark.parametrize(
    ("suite", "words", "number"),
    [
        ("fixed", "mnist-pgd", 8),
        ("fixed", "mnist-pgd:0.3", 4),
        ("fixed", "mnist-pgd:0.3:apgd", 1),
        ("fixed", "mnist-pgd:apgd", 2),
        ("fixed", "mnist-pgd:0.1", 0),
        ("minimum", "mnist-plain:inf:ddn", 1),
        ("minimum", "mnist-plain:L2", 6),
        ("minimum", "mnist-plain:L2:fmn", 1),
        ("minimum", "mnist-plain:fmn", 4),
        ("minimum", "mnist-plain:inf:", 0),
    ],
)
def test_words_choose_comparisons(suite: str, words: str, number: int) -> None:
    assert sum(comparison.answers_to(words) for comparison in COMPARISONS[suite]) == number


def test_words_that_choose_nothing_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--suite", "fixed", "--only", "mnist-pgd:0.1"])
    said = capsys.readouterr().err
    assert "--only mnist-pgd:0.1 is no comparison of fixed; write NET[:EPS or NORM][:ATTACK]" in said


@pytest.mark.parametrize(
    ("words", "command"),
    [
        ([], "--suite fixed --device cpu"),
        (["--repeats", "12"], "--suite fixed --repeats 12 --device cpu"),
        (["--only", "mnist-pgd", "--quick"], "--suite fixed --only mnist-pgd --quick --device cpu"),
    ],
)
def test_a_record_names_the_command_that_made_it(words: list[str], command: str) -> None:
    options = _parser().parse_args(words)
    assert _command("fixed", options) == f"python -m benchmarks.run {command}"
