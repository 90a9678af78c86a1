"""The command line starts at once, and says its name."""

import subprocess
import sys

import pytest

import sparring

ALONE = """
import sys
from sparring.cli import main
sys.argv = ["sparring", *{words}]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
heavy = sorted(name for name in ("torch", "numpy", "scipy", "PIL") if name in sys.modules)
print("HEAVY", heavy)
"""


@pytest.mark.parametrize("words", [["--help"], ["audit", "--help"], ["--version"], ["zoo", "list"], ["list", "data"]])
def test_torch_is_not_imported_before_it_is_needed(words):
    command = [sys.executable, "-c", ALONE.format(words=words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.splitlines()[-1] == "HEAVY []", done.stdout


def test_version(typed):
    assert typed("--version").stdout == f"sparring {sparring.__version__}\n"


@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        ("attacks", ["pgd", "hopskipjump", "Decisions"]),
        ("models", ["zoo:mnist-plain"]),
        ("data", ["zoo:photos"]),
        ("goals", ["misclassify", "--targeted CLASS"]),
    ],
)
def test_lists(kind, shown, typed):
    result = typed("list", kind)
    assert result.exit_code == 0
    assert all(word in result.stdout for word in shown), result.stdout


def test_an_unknown_list_has_a_nearest(typed):
    result = typed("list", "attack")
    assert result.exit_code == 2
    assert "Did you mean 'attacks'?" in result.stderr
