"""VNN-LIB 1.0 and 2.0: what a file asks, and files that are refused with their line."""

import gzip
import itertools
import random

import numpy as np
import pytest

from sparring.defenses.certification.properties import Constraint, parse_vnnlib, read_vnnlib
from sparring.errors import InputError

DECLARED = """; two inputs, two outputs
(declare-const X_0 Real)
(declare-fun X_1 () Real)
(declare-const Y_0 Real)
(declare-const Y_1 Real)
"""
BOX = "(assert (<= X_0 1)) (assert (>= X_0 -1.5e-1)) (assert (and (<= X_1 .5) (<= -2. X_1)))\n"
NETWORK = """(vnnlib-version <2.0>)
(declare-network f
  (declare-input X float32 [1, 2])  ; comments ( ) [ " anywhere
  (declare-output Y Real [2]))
"""


def holds(query, x, y):
    """Is the query met by inputs x with outputs y?"""
    x, y = np.array(x, float), np.array(y, float)
    return any(region.contains(x) and region.met(x, y) is not None for region in query.regions)


def test_bounds_make_a_box_and_all_else_constraints():
    query = parse_vnnlib(DECLARED + BOX + "(assert (>= (+ Y_0 (* 2 Y_1) -1) (- X_0)))")
    (region,) = query.regions
    assert region.low.tolist() == [-0.15, -2.0]
    assert region.high.tolist() == [1.0, 0.5]
    assert region.conjunctions == ((Constraint((2, 3, 0), (1.0, 2.0, 1.0), -1.0, False),),)
    assert (query.version, query.inputs.size, query.outputs.size) == (1, 2, 2)


def test_version_2_says_the_same_with_tensors():
    text = "(assert (<= X[0,0] 1)) (assert (>= X[0,0] -1.5e-1)) (assert (and (<= X[0, 1] .5) (<= -2. X [0,1])))"
    second = parse_vnnlib(NETWORK + text + "(assert (< Y[1] Y[0]))")
    first = parse_vnnlib(DECLARED + BOX + "(assert (< Y_1 Y_0))")
    (a,), (b,) = first.regions, second.regions
    assert a.conjunctions == b.conjunctions
    assert (a.low == b.low).all()
    assert (a.high == b.high).all()
    assert (second.inputs.shape, second.inputs.kind, second.outputs.kind) == ((1, 2), "float32", "real")


def test_disjunctions_are_multiplied_out_and_share_boxes():
    text = "(assert (or (and (<= X_0 1) (>= X_0 0)) (and (<= X_0 3) (>= X_0 2))))(assert (<= X_1 1))(assert (>= X_1 0))"
    query = parse_vnnlib(DECLARED + text + "(assert (or (<= Y_0 0) (and (>= Y_0 1) (!= Y_1 2))))")
    assert [(region.low[0], region.high[0]) for region in query.regions] == [(0, 1), (2, 3)]
    assert [len(region.conjunctions) for region in query.regions] == [3, 3]
    for x, y in itertools.product((-1, 0, 0.5, 1, 1.5, 2, 3), ((-1, 2), (0, 5), (0.5, 5), (1, 2), (1, 3), (2, 1))):
        asked = (0 <= x <= 1 or 2 <= x <= 3) and (y[0] <= 0 or (y[0] >= 1 and y[1] != 2))
        assert holds(query, (x, 0.5), y) == asked


def test_random_formulas_mean_what_python_says():
    """Expressions over small whole numbers, where float64 is exact, against Python's own operators."""
    rng = random.Random(0)
    x, y = ("X_0", "X_1"), ("Y_0", "Y_1")

    def term(depth):
        if depth == 0:
            number = rng.randint(-3, 3)
            return rng.choice(
                [(f"{number}", lambda v, k=number: k), *((name, lambda v, k=name: v[k]) for name in x + y)]
            )
        (a, f), (b, g) = term(depth - 1), term(rng.randint(0, depth - 1))
        number = rng.randint(-2, 2)
        return rng.choice([
            (f"(+ {a} {b})", lambda v: f(v) + g(v)),
            (f"(- {a} {b} 1)", lambda v: f(v) - g(v) - 1),
            (f"(- {a})", lambda v: -f(v)),
            (f"(* {a} {number})", lambda v: f(v) * number),
        ])  # fmt: skip

    def formula(depth):
        if depth == 0:
            (a, f), (b, g) = term(rng.randint(0, 2)), term(1)
            return rng.choice([
                (f"(<= {a} {b})", lambda v: f(v) <= g(v)), (f"(> {a} {b})", lambda v: f(v) > g(v)),
                (f"(== {a} {b})", lambda v: f(v) == g(v)), (f"(!= {a} {b})", lambda v: f(v) != g(v)),
            ])  # fmt: skip
        parts = [formula(depth - 1) for _ in range(rng.randint(1, 3))]
        word, every = rng.choice([("and", all), ("or", any)])
        return f"({word} {' '.join(text for text, _ in parts)})", lambda v: every(f(v) for _, f in parts)

    met = 0
    for _ in range(40):
        text, meaning = formula(2)
        query = parse_vnnlib(
            DECLARED + "".join(f"(assert (<= -2 {n})) (assert (>= 2 {n}))" for n in x) + f"(assert {text})"
        )
        for _ in range(30):
            values = {name: rng.randint(-2, 2) for name in x + y}
            expected = meaning(values)
            met += expected
            assert holds(query, [values[n] for n in x], [values[n] for n in y]) == expected, text
    assert 200 < met < 1000


def test_open_and_divided_bounds_are_exact():
    query = parse_vnnlib(DECLARED + BOX + "(assert (< X_0 0.5)) (assert (<= (* 3 X_1) 1)) (assert (<= Y_0 0))")
    (region,) = query.regions
    assert not holds(query, (0.5, 0), (0, 0))
    assert holds(query, (np.nextafter(0.5, 0), 0), (0, 0))
    assert region.high[1] >= 1 / 3  # the box may only be larger; the constraint decides
    for value in (1 / 3, np.nextafter(1 / 3, 1)):
        assert holds(query, (0, value), (0, 0)) == (3 * int(value * 2**60) <= 2**60)


def test_bounds_that_exclude_one_another_leave_no_region():
    assert parse_vnnlib(DECLARED + BOX + "(assert (>= X_0 2)) (assert (<= Y_0 0))").regions == ()
    assert parse_vnnlib(DECLARED + BOX + "(assert (< X_0 -0.15)) (assert (<= Y_0 0))").regions == ()
    assert parse_vnnlib(DECLARED + BOX + "(assert (>= 1 2))").regions == ()


def test_scalars_onnx_names_and_packed_files(tmp_path):
    text = '(vnnlib-version <2.0>)(declare-network g (declare-input a real [] "in")(declare-output b real []))'
    file = tmp_path / "p.vnnlib"
    (tmp_path / "p.vnnlib.gz").write_bytes(gzip.compress(f"{text}(assert (and (<= 0 a) (<= a 1) (< b a)))".encode()))
    query = read_vnnlib(file)
    assert (query.inputs.onnx_name, query.inputs.shape, query.inputs.size) == ("in", (), 1)
    assert holds(query, [0.5], [0.25])
    (tmp_path / "p.vnnlib.gz").write_bytes(b"no gzip")
    with pytest.raises(InputError, match="cannot be unpacked"):
        read_vnnlib(file)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="UTF-8"):
        read_vnnlib(file)
    with pytest.raises(InputError, match="is no file"):
        read_vnnlib(tmp_path / "other.vnnlib")


@pytest.mark.parametrize(("text", "said"), [
    ("", "declares no X_0"),
    (DECLARED, "asserts nothing"),
    (DECLARED + BOX + "(assert (<= Y_0 0)", r"line 7: '\(' is never closed"),
    (DECLARED + ")", r"line 6: '\)' closes nothing"),
    (DECLARED + "X_0", "line 6: 'X_0' stands outside"),
    (DECLARED + "(assert (<= Y_0 [1)))", "line 6: '\\[' is not closed"),
    (DECLARED + "(assert (<= Y_2 0))", "line 6: 'Y_2'.*declare it"),
    (DECLARED + "(assert (<= X_0_0 0))", "line 6: 'X_0_0'"),
    (DECLARED + "(assert (<= Y_0 1e999))", "line 6: a number is too large"),
    (DECLARED + "(assert (<= Y_0 nan))", "line 6: 'nan'"),
    (DECLARED + "(assert (<= Y_0 0x10))", "line 6: '0x10'"),
    (DECLARED + "(assert (<= (* Y_0 Y_1) 0))", "line 6: a product of variables"),
    (DECLARED + "(assert (<= (/ 1 Y_1) 0))", "line 6: divisions"),
    (DECLARED + "(assert (<= Y_0))", "line 6: .* has 1"),
    (DECLARED + "(assert (=> (<= Y_0 0) (<= Y_1 0)))", r"line 6: \(=> ...\)"),
    (DECLARED + "(assert)", "line 6: an assertion has one expression"),
    (DECLARED + "(assert ((<= Y_0 0)))", "line 6: an expression begins with a word"),
    (DECLARED + "(exec (import os))", r"line 6: \(exec ...\)"),
    (DECLARED + "(declare-const X_0 Real)", "line 6: X_0 is declared twice"),
    (DECLARED + "(declare-const Y_3 Real)" + BOX, "declares no Y_2"),
    (DECLARED + "(declare-const X_99999999 Real)", "line 6: X_99999999: at most"),
    (DECLARED + "(declare-const Z Real)", "line 6: in VNN-LIB 1.0"),
    (DECLARED + "(assert (<= X_0 1)) (assert (>= X_0 0)) (assert (>= X_1 0)) (assert (<= Y_0 0))", "X_1 without.*<="),
    (DECLARED + NETWORK, "line 6: this belongs to VNN-LIB 2.0"),
    ("(vnnlib-version <3.0>)", "line 1: version '<3.0>'"),
    (NETWORK + NETWORK[22:], "line 6: f is a second network"),
    (NETWORK + "(assert (<= X[0,2] 1))", r"line 5: X\[0,2\] is outside of X, whose shape is \[1, 2\]"),
    (NETWORK + "(assert (<= X[0] 1))", "line 5: .*outside of X"),
    (NETWORK + "(assert (<= X[0,-1] 1))", "line 5: .*whole numbers"),
    (NETWORK + "(assert (<= Z[0] 1))", "line 5: .*X and Y are declared"),
    (NETWORK + "(assert (<= Y[0] 1))", r"X\[0, 0\] without"),
    (NETWORK.replace("float32", "int8"), "line 3: X has type 'int8'"),
    (NETWORK.replace("[2]", "[99999999]"), "line 4: Y has 99,999,999"),
    (NETWORK.replace("[2])", "[2]) (declare-hidden H real [1] \"h\")"), r"line 4: \(declare-hidden ...\) is"),
    (NETWORK.replace("[2])", "[2]) (declare-output Z real [1])"), r"2 times declare-output \(Y, Z\)"),
    (NETWORK.replace("f\n", "f (equal-to g)\n"), "equal-to ...\\) is not supported"),
    ("(" * 101, "line 1: .*nested more than 100"),
    (DECLARED + "(assert (<= " + "Y" * 1001 + " 0))", "line 6: a word has 1,001 characters"),
    (DECLARED + BOX + "(assert (or (<= Y_0 0) (>= Y_0 1)))" * 15, "32,768 combinations"),
    (DECLARED + f"(assert (and {'(or (<= Y_0 0) (>= Y_0 1))' * 15}))", "line 6: .*32,768 disjuncts"),
])  # fmt: skip
def test_what_is_no_specification_is_told_with_its_line(text, said):
    with pytest.raises(InputError, match=said):
        parse_vnnlib(text, "p.vnnlib")
