"""Command lines that nobody would type on purpose end with an exit code of the table; `make fuzz` tries 10,000."""

import os

import pytest
from cli_fuzz import Case, World, fault_of


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root, before = tmp_path_factory.mktemp("world"), os.getcwd()
    os.chdir(root)
    yield World.make(root)
    os.chdir(before)


@pytest.mark.parametrize("block", range(4))
def test_odd_command_lines_end_as_the_table_says(block, world):
    faults = {}
    for number in range(50 * block, 50 * block + 50):
        words = Case(world, number).words()
        fault = fault_of(words)
        if fault is not None:
            faults[number] = (words, fault)
    assert not faults


def test_the_fuzz_sees_an_error_of_the_code(monkeypatch, world):
    """It is a check that can fail."""
    from sparring.cli.commands import report

    monkeypatch.setattr(report, "check_report_folder", lambda *_: 1 / 0)
    assert "raised ZeroDivisionError" in fault_of(["report", str(world.root), "--out", "x"])
