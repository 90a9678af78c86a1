"""Answers about networks: those of closed forms, and counterexamples that hold exactly as the file is written."""

import numpy as np
import pytest
import torch
from torch import nn

import sparring as sp
from sparring.defenses.certification.properties import Answer, parse_vnnlib, result_text, verify_query
from sparring.errors import ConfigError, InputError, TargetError
from sparring.targets.onnx_file import OnnxFile

from ..conftest import dense, least_margin
from .conftest import boxed, dense_file, linear

pytest.importorskip("onnxruntime")


def answer(net, text, timeout=60.0, **shapes):
    """The verdict on a network; of a counterexample it is checked that it is one."""
    network, query = OnnxFile(dense_file(net, **shapes), "net.onnx"), parse_vnnlib(text)
    verdict = verify_query(network, query, timeout=timeout)
    assert (verdict.answer is Answer.SAT) == (verdict.x is not None)
    if verdict.x is not None:
        assert (verdict.x == verdict.x.astype(np.float32)).all()
        assert (network.run(verdict.x) == verdict.y).all()
        met = [one for one in query.regions if one.contains(verdict.x) and one.met(verdict.x, verdict.y) is not None]
        assert met or verdict.notes
    return verdict


def identity(n=1):
    return nn.Sequential(linear(np.eye(n)))


@pytest.mark.parametrize("inputs", [3, 10])
def test_answers_are_those_of_enumerated_activation_patterns(inputs):
    """A network whose least margin over a box is moved to just above and just below 0."""
    torch.manual_seed(inputs)
    net = dense(inputs, widths=(inputs, 5, 4, 3))
    with torch.no_grad():
        for layer in net:
            if isinstance(layer, nn.Linear):  # as the file holds them
                layer.weight.copy_(layer.weight.float())
                layer.bias.copy_(layer.bias.float())
    image = torch.rand(1, 1, 1, inputs, dtype=torch.float64)
    label, radius = int(net(image).argmax()), 0.25
    low, high = ((image.flatten() + side).clamp(0, 1).tolist() for side in (-radius, radius))
    least = least_margin(net, image, label, sp.Linf(radius))
    unsafe = f"(or {' '.join(f'(<= Y_{label} Y_{k})' for k in range(3) if k != label)})"
    for shift, expected in ((2e-3 - least, Answer.UNSAT), (-2e-3 - least, Answer.SAT)):
        moved = nn.Sequential(*net, linear(np.eye(3), np.eye(3)[label] * shift))
        verdict = answer(moved, boxed(low, high, unsafe, outputs=3))
        assert verdict.answer is expected
        assert verdict.bound <= 2e-3 + 1e-6


@pytest.mark.parametrize(("n", "method"), [(5, "input splitting"), (24, "")])
def test_a_band_of_outputs_is_missed_or_met(n, method):
    """y = sum_i relu(w_i x_i), whose greatest value over the box is the sum of the greatest."""
    weights = np.float32(np.random.default_rng(n).standard_normal(n))
    net = nn.Sequential(linear(np.diag(weights)), nn.ReLU(), linear(np.ones((1, n))))
    most = float(np.maximum(weights, -weights * 0.5).sum())  # over [-0.5, 1]^n
    for gap, expected in ((1e-3, Answer.UNSAT), (-1e-3, Answer.SAT)):
        band = (f"(>= Y_0 {most + gap})", f"(<= Y_0 {most + 1})")
        verdict = answer(net, boxed([-0.5] * n, [1] * n, *band))
        assert verdict.answer is expected, verdict
        if expected is Answer.UNSAT:
            assert method in verdict.method


def test_a_hidden_counterexample_is_found_and_not_one_beside_it():
    """y > 0 in a corner of the cube that is 1e-3 wide."""
    net = nn.Sequential(linear([[1.0, 1.0, -1.0]], -1.999), nn.ReLU(), linear([[1.0]]))
    for threshold, expected in ((9e-4, Answer.SAT), (1.1e-3, Answer.UNSAT)):
        assert answer(net, boxed([0] * 3, [1] * 3, f"(>= Y_0 {threshold})")).answer is expected


def test_no_counterexample_lies_outside_by_rounding():
    """float32(0.3) > 0.3: y = x reaches 0.3 in real numbers, and no number of float32 within the bounds does."""
    for threshold, expected in ((0.3, "unknown"), (0.3 + 1e-7, "unknown"), (0.3001, "unsat"), (0.2999, "sat")):
        assert answer(identity(), boxed(["0.1"], ["0.3"], f"(>= Y_0 {threshold})"), 30).answer.value == expected


def test_inputs_that_are_pinned_to_no_float_are_taken_as_the_nearest():
    verdict = answer(identity(2), boxed(["0.1", "0"], ["0.1", "1"], "(>= Y_1 0.5)", outputs=2))
    assert verdict.answer is Answer.SAT
    assert verdict.x[0] == np.float32(0.1)
    assert "1 inputs, the first of them number 0" in verdict.notes[0]
    assert answer(identity(2), boxed(["0.1", "0"], ["0.1", "1"], "(>= Y_0 0.2)", outputs=2)).answer is Answer.UNSAT


def test_equality_counts_where_it_is_written():
    """relu(x - 2) is 0 on [0, 1]."""
    net = nn.Sequential(linear([[1.0]], -2.0), nn.ReLU(), linear([[1.0]]))
    assert answer(net, boxed([0], [1], "(<= Y_0 0)")).answer is Answer.SAT
    assert answer(net, boxed([0], [1], "(== Y_0 0)")).answer is Answer.SAT
    assert answer(net, boxed([0], [1], "(< Y_0 0)"), 30).answer is Answer.UNKNOWN


def test_constraints_may_join_inputs_and_outputs():
    net = identity(2)
    box = ([0, 0], [1, 1])
    cases = {
        "(and (>= Y_0 (+ X_0 0.01)) (<= X_1 0.5))": "unsat",
        "(and (>= X_0 (+ X_1 0.5)) (<= (+ Y_0 Y_1) 0.4))": "unsat",
        "(and (>= X_0 (+ X_1 0.5)) (<= (+ Y_0 Y_1) 0.6))": "sat",
        "(>= X_0 0.5)": "sat",  # every input is a counterexample
    }
    for text, expected in cases.items():
        assert answer(net, boxed(*box, text, outputs=2)).answer.value == expected, text
    assert answer(net, boxed(*box, "(>= X_0 2)", outputs=2)).answer is Answer.UNSAT


def test_a_disjunction_of_boxes_is_proven_in_each():
    net = nn.Sequential(linear([[1.0], [-1.0]]), nn.ReLU(), linear([[1.0, 1.0]]))  # |x|
    boxes = "(or (and (<= X_0 -1) (>= X_0 -2)) (and (<= X_0 {high}) (>= X_0 1)))"
    declared = "(declare-const X_0 Real)(declare-const Y_0 Real)"
    for high, expected in ((3, Answer.UNSAT), (5, Answer.SAT)):
        text = f"{declared}(assert {boxes.format(high=high)})(assert (or (<= Y_0 0.5) (>= Y_0 4)))"
        verdict = answer(net, text)
        assert verdict.answer is expected
        assert verdict.problems == 2


class Shifted(OnnxFile):
    """A file whose outputs in onnxruntime are smaller than in torch."""

    shift = 5e-4

    def run(self, x):
        return super().run(x) - self.shift


def test_onnxruntime_decides():
    file, bounds = dense_file(identity()), ([0], [1])
    for threshold in (0.9997, 1.0003):  # torch's counterexample is none; a proof is too near to what they differ by
        query = parse_vnnlib(boxed(*bounds, f"(>= Y_0 {threshold})"))
        verdict = verify_query(Shifted(file, "net.onnx"), query, timeout=30)
        assert verdict.answer is Answer.UNKNOWN
        assert verdict.difference == pytest.approx(5e-4, rel=1e-3)
    Shifted.shift = 0.1
    with pytest.raises(TargetError, match=r"differ from onnxruntime's by 0\.1"):
        verify_query(Shifted(file, "net.onnx"), query)


def test_the_time_is_kept():
    net = dense(0, widths=(8, 40, 40, 40, 1))
    verdict = answer(net, boxed([-1] * 8, [1] * 8, "(>= Y_0 1e3)"), timeout=1e-3)
    assert verdict.answer is Answer.TIMEOUT
    with pytest.raises(ConfigError, match="timeout=0"):
        answer(net, boxed([-1] * 8, [1] * 8, "(>= Y_0 1e3)"), timeout=0)


def test_shapes_of_the_file_do_not_matter_and_results_are_those_of_the_competition():
    net = nn.Sequential(nn.Flatten(), linear([[1.0, -1.0], [0.5, 0.0]]))
    first = boxed(["0.25"] * 2, ["0.25"] * 2, "(<= Y_0 1)", outputs=2)
    second = """(vnnlib-version <2.0>)
    (declare-network f (declare-input A float32 [1,1,1,2]) (declare-output B real [2]))
    (assert (and (<= A[0,0,0,0] 0.25) (<= 0.25 A[0,0,0,0]) (== A[0,0,0,1] 0.25)))(assert (<= B[0] 1))"""
    network = OnnxFile(dense_file(net, [1, 1, 1, 2], [2]), "net.onnx")
    texts = []
    for text in (first, second):
        query = parse_vnnlib(text)
        texts.append(result_text(query, verify_query(network, query)))
    assert texts[0] == "sat\n((X_0 0.25)\n(X_1 0.25)\n(Y_0 0.0)\n(Y_1 0.125))\n"
    assert texts[1] == "sat\nA float32 [1,1,1,2]\n0.25\n0.25\nB real [2]\n0.0\n0.125\n"


@pytest.mark.parametrize(("text", "said"), [
    (boxed([0], [1], "(<= Y_0 0)"), "1 inputs .*net.onnx has 2"),
    (boxed([0] * 2, [1] * 2, "(<= Y_0 0)"), "1 outputs .*net.onnx has 2"),
    ("(vnnlib-version <2.0>)(declare-network f (declare-input X float64 [2])(declare-output Y real [2]))"
     "(assert (and (<= X[0] 1) (<= 0 X[0]) (== X[1] 0)))", "X as float64, and net.onnx has float32"),
    ('(vnnlib-version <2.0>)(declare-network f (declare-input X real [2] "in")(declare-output Y real [2]))'
     "(assert (and (<= X[0] 1) (<= 0 X[0]) (== X[1] 0)))", "names 'in', and net.onnx has 'x'"),
])  # fmt: skip
def test_a_specification_of_another_network_is_refused(text, said):
    with pytest.raises(InputError, match=said):
        answer(identity(2), text)
