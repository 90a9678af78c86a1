"""Annotations are checked in the tests, in every process of xdist, and never in the library itself."""

import subprocess
import sys

import jaxtyping
import pytest
import shape_checks
import torch

import sparring as sp
from sparring.goals import Verdict

INTEGERS, ROWS = torch.ones(2, 3, dtype=torch.int64), torch.zeros(2)


def outside(code: str) -> str:
    """What Python prints that runs without the import hook of the tests."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_the_library_never_imports_beartype():
    code = "import sys, sparring; from sparring import attacks, defenses, targets, testing, run; print(*sys.modules)"
    loaded = outside(code).split()
    assert "sparring.geometry.linf" in loaded
    assert "beartype" not in loaded


def test_wrong_dtypes_are_refused_by_the_checks():
    with pytest.raises(jaxtyping.TypeCheckError, match=r"(?s)Linf\.norm.*parameter 'delta'"):
        sp.Linf(0.1).norm(INTEGERS)


def test_wrong_dtypes_are_not_looked_for_without_the_hook():
    code = "import torch, sparring; print(sparring.Linf(0.1).norm(torch.ones(2, 3, dtype=torch.int64)).tolist())"
    assert outside(code) == "[1, 1]"


def test_arguments_of_different_numbers_of_rows_are_refused_by_the_checks():
    with pytest.raises(jaxtyping.TypeCheckError, match=r"(?s)parameter 'share'.*batch=3"):
        sp.L2(1.0).shrink(torch.zeros(3, 4), ROWS)


def test_fields_of_records_are_checked():
    with pytest.raises(jaxtyping.TypeCheckError, match="parameter 'loss'"):
        Verdict(ROWS, torch.zeros(3))


def test_a_test_checks_its_first_calls_only():
    shape_checks.start(2)  # the arguments and the result of one call
    sp.Linf(0.1).norm(torch.zeros(2, 3))
    assert sp.Linf(0.1).norm(INTEGERS).tolist() == [1, 1]
    shape_checks.start(None)
    with pytest.raises(jaxtyping.TypeCheckError):
        sp.Linf(0.1).norm(INTEGERS)


@pytest.mark.wrong_types
def test_a_marked_test_is_not_checked():
    assert sp.Linf(0.1).norm(INTEGERS).tolist() == [1, 1]
