"""Verdicts beside Marabou's, on the same networks and ONNX files: both are complete, so that they must be the same.

It is no dependency, not even of the tests: maraboupy has wheels for few versions of Python.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch import nn

import sparring as sp
from sparring.attacks import FGSM
from sparring.defenses.certification import Network, Status, verify
from sparring.defenses.certification.properties import parse_vnnlib, verify_query
from sparring.targets.onnx_file import OnnxFile

from ..defenses.certification.properties.conftest import boxed, dense_file

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its own
    pytest.importorskip("maraboupy", reason="maraboupy is not installed")
    from maraboupy import Marabou, MarabouNetwork

pytestmark = pytest.mark.filterwarnings("ignore")


def marabou_proves(net: nn.Sequential, image: torch.Tensor, label: int, eps: float) -> bool:
    """Tell whether Marabou finds no input of the box at which another class has the larger logit."""
    options = Marabou.createOptions(verbosity=0)
    layers = [layer for layer in net if isinstance(layer, nn.Linear)]
    for rival in range(layers[-1].out_features):
        if rival == label:
            continue
        network = MarabouNetwork.MarabouNetwork()
        values = [network.getNewVariable() for _ in range(image.numel())]
        for variable, pixel in zip(values, image.flatten().tolist(), strict=True):
            network.setLowerBound(variable, max(pixel - eps, 0.0))
            network.setUpperBound(variable, min(pixel + eps, 1.0))
        network.inputVars, network.outputVars = [np.array(values)], []
        for number, layer in enumerate(layers):
            results = [network.getNewVariable() for _ in range(layer.out_features)]
            for result, weight, bias in zip(results, layer.weight.tolist(), layer.bias.tolist(), strict=True):
                network.addEquality([*values, result], [*weight, -1.0], -bias)
            if number < len(layers) - 1:
                values = [network.getNewVariable() for _ in results]
                for before, after in zip(results, values, strict=True):
                    network.addRelu(before, after)
        network.addInequality([results[label], results[rival]], [1.0, -1.0], 0.0)
        status, _, _ = network.solve(options=options, verbose=False)
        assert status in ("sat", "unsat"), status
        if status == "sat":
            return False
    return True


def test_verdicts_are_those_of_marabou():
    torch.manual_seed(0)
    proven = 0
    for _ in range(12):
        net = nn.Sequential(
            nn.Flatten(), nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 12), nn.ReLU(), nn.Linear(12, 3)
        ).double()
        image = torch.rand(1, 1, 2, 3, dtype=torch.float64)
        label = net(image).argmax(1)
        found = verify(Network(net, image), sp.Misclassify(label), image, sp.Linf(0.25), attack=FGSM(sp.Linf(0.25)))
        theirs = marabou_proves(net, image, int(label), 0.25)
        assert found.status == ((Status.PROVEN if theirs else Status.BROKEN),)
        proven += theirs
    assert 0 < proven < 12


def test_answers_are_those_of_marabou(tmp_path):
    """Output 0 is the largest somewhere in a box, of networks of few inputs and of many."""
    torch.manual_seed(1)
    answers = []
    for number in range(12):
        n = 3 if number % 3 else 24
        net = nn.Sequential(nn.Linear(n, 10), nn.ReLU(), nn.Linear(10, 10), nn.ReLU(), nn.Linear(10, 3)).double()
        centre = torch.rand(n)
        low, high = (centre - 0.2).tolist(), (centre + 0.2).tolist()
        shift = float(net(centre.double())[1:].max() - net(centre.double())[0])
        net[-1].bias.data[0] += shift - 0.02 * (number % 4 + 1)
        content = dense_file(net)
        text = boxed(low, high, "(>= Y_0 Y_1)", "(>= Y_0 Y_2)", outputs=3)
        ours = verify_query(OnnxFile(content, "net.onnx"), parse_vnnlib(text)).answer.value
        (tmp_path / "net.onnx").write_bytes(content)
        network = Marabou.read_onnx(str(tmp_path / "net.onnx"))
        x, y = (np.asarray(one[0]).flatten() for one in (network.inputVars, network.outputVars))
        for variable, least, most in zip(x, low, high, strict=True):
            network.setLowerBound(variable, least)
            network.setUpperBound(variable, most)
        for rival in (1, 2):
            network.addInequality([y[rival], y[0]], [1.0, -1.0], 0.0)
        assert ours == network.solve(options=Marabou.createOptions(verbosity=0), verbose=False)[0]
        answers.append(ours)
    assert {"sat", "unsat"} == set(answers)
