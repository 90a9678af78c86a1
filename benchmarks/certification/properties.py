"""Answers to properties in VNN-LIB: ACAS Xu's first four of a real network, and networks made here, by two searches.

    python -m benchmarks.certification.properties [--acas FILE.onnx] [--timeout 116] [--out FILE]

ACAS Xu: properties 1 to 4 (Katz et al. 2017, arXiv:1702.01135, with the scaled bounds of VNN-COMP) of the network 2_2,
a file in the package vibecheck-nn 1.1.0 on PyPI (vibecheck/examples/ACASXU_run2a_2_2_batch_2000.onnx). Where maraboupy
can be imported, Marabou answers the same with as many seconds.

Networks made here: dense ReLU networks n -> 20 -> 20 -> 1 of random weights on [-1, 1]^n. Unsafe is an output of more
than the greatest that 20,000 random points and gradient ascent reach, and a gap of 5 % of what the points range over.
The same is answered once as it is by default (`few=20`: boxes of inputs are halved, from 7 inputs on for a tenth of the
time), once by splitting activations alone (`few=0`).

Writes records/certification/properties.json.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import nn

from benchmarks.provenance import ROOT, provenance
from sparring.defenses.certification.properties import load_network, parse_vnnlib, verify_query
from sparring.targets.onnx_file import OnnxFile

RECORD = ROOT / "records" / "certification" / "properties.json"
WIDE = ((0.6, 0.679857769), (-0.5, 0.5), (-0.5, 0.5), (0.45, 0.5), (-0.5, -0.45))
NEAR = ((-0.303531156, -0.298552812), (-0.009549297, 0.009549297))
BOXES = (WIDE, WIDE, (*NEAR, (0.493380324, 0.5), (0.3, 0.5), (0.3, 0.5)),
         (*NEAR, (0, 0), (0.318181818, 0.5), (0.083333333, 0.166666667)))  # fmt: skip
UNSAFE = (
    ["(>= Y_0 3.991125645861615)"],
    [f"(<= Y_{k} Y_0)" for k in range(1, 5)],
    [f"(<= Y_0 Y_{k})" for k in range(1, 5)],
    [f"(<= Y_0 Y_{k})" for k in range(1, 5)],
)
WIDTHS, NETS, GAP = (3, 5, 8, 12), 3, 0.05


def text(box: Any, unsafe: list[str], outputs: int) -> str:
    """A specification in VNN-LIB 1.0."""
    lines = [
        f"(declare-const {name}_{k} Real)" for name, many in (("X", len(box)), ("Y", outputs)) for k in range(many)
    ]
    for k, (low, high) in enumerate(box):
        lines += [f"(assert (>= X_{k} {low}))", f"(assert (<= X_{k} {high}))"]
    return "\n".join([*lines, *(f"(assert {one})" for one in unsafe)])


def made(n: int, seed: int) -> tuple[nn.Sequential, bytes]:
    """A network of random weights, and its ONNX file."""
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(n, 20), nn.ReLU(), nn.Linear(20, 20), nn.ReLU(), nn.Linear(20, 1))
    nodes, constants, last = [], [], "x"
    for number, layer in enumerate(net):
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=1.5 / layer.in_features**0.5)
            for letter, value in (("w", layer.weight), ("b", layer.bias)):
                constants.append(onnx.numpy_helper.from_array(value.detach().numpy(), f"{letter}{number}"))
            nodes.append(onnx.helper.make_node("Gemm", [last, f"w{number}", f"b{number}"], [f"h{number}"], transB=1))
        else:
            nodes.append(onnx.helper.make_node("Relu", [last], [f"h{number}"]))
        last = f"h{number}"
    value, kind = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(nodes, "net", [value("x", kind, [1, n])], [value(last, kind, [1, 1])], constants)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    return net, model.SerializeToString()


def reached(net: nn.Sequential, n: int) -> tuple[float, float]:
    """The greatest output that points and PGD reach on [-1, 1]^n, and the range over the points."""
    points = torch.rand(20_000, n) * 2 - 1
    with torch.no_grad():
        values = net(points)[:, 0]
    x = points[values.topk(256).indices].requires_grad_()
    best = float(values.amax())
    for step in range(100):
        outputs = net(x)[:, 0]
        best = max(best, float(outputs.detach().amax()))
        (gradient,) = torch.autograd.grad(outputs.sum(), x)
        with torch.no_grad():
            x.add_(gradient.sign() * 0.2 * (1 - step / 100)).clamp_(-1, 1)
    return best, float(values.amax() - values.amin())


def answered(network: OnnxFile, specification: str, timeout: float, few: int = 20) -> dict[str, Any]:
    """The answer, and what it cost."""
    began = time.process_time()
    verdict = verify_query(network, parse_vnnlib(specification), timeout=timeout, few=few)
    return {
        "processor_seconds": round(time.process_time() - began, 2),
        "answer": verdict.answer.value,
        "method": verdict.method,
        "seconds": round(verdict.seconds, 2),
        "domains": verdict.domains,
        "difference": verdict.difference,
    }


def by_marabou(file: Path, box: Any, unsafe: list[str], timeout: float) -> dict[str, Any] | None:
    """Marabou's answer; None where it is not installed."""
    try:
        from maraboupy import Marabou
    except ImportError:
        return None
    network = Marabou.read_onnx(str(file))
    x, y = network.inputVars[0].flatten(), network.outputVars[0].flatten()
    for variable, (low, high) in zip(x, box, strict=True):
        network.setLowerBound(variable, low)
        network.setUpperBound(variable, high)
    for one in unsafe:  # (<= Y_a Y_b), (>= Y_a number)
        word, first, second = one.strip("()").split()
        if second.startswith("Y"):
            network.addInequality([y[int(first[2:])], y[int(second[2:])]], [1.0, -1.0], 0.0)
        else:
            assert word == ">="
            network.setLowerBound(y[int(first[2:])], float(second))
    began = time.monotonic()
    options = Marabou.createOptions(verbosity=0, timeoutInSeconds=int(timeout))
    answer = network.solve(options=options, verbose=False)[0]
    return {"answer": answer.lower(), "seconds": round(time.monotonic() - began, 2)}


def main() -> None:
    """Measure, and write the record."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--acas", type=Path)
    parser.add_argument("--timeout", type=float, default=116)
    parser.add_argument("--out", type=Path, default=RECORD)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.export.export(nn.Linear(1, 1), (torch.zeros(1, 1),))  # which is slow only once
    command = f"python -m benchmarks.certification.properties --timeout {given.timeout:g}"
    record: dict[str, Any] = {**provenance(command + " --acas ..." * bool(given.acas), "cpu"), "acas": [], "made": []}
    if given.acas:
        for number, (box, unsafe) in enumerate(zip(BOXES, UNSAFE, strict=True), 1):
            specification = text(box, unsafe, 5)
            row = answered(load_network(given.acas, parse_vnnlib(specification)), specification, given.timeout)
            theirs = by_marabou(given.acas, box, unsafe, given.timeout)
            record["acas"].append({"property": number, **row, "marabou": theirs})
            print(record["acas"][-1], flush=True)
    for n in WIDTHS:
        for seed in range(NETS):
            net, content = made(n, seed)
            most, spread = reached(net, n)
            specification = text([(-1, 1)] * n, [f"(>= Y_0 {most + GAP * spread})"], 1)
            network = OnnxFile(content, f"{n} inputs, seed {seed}")
            for name, few in (("default", 20), ("activations", 0)):
                row = answered(network, specification, min(given.timeout, 30.0), few)
                record["made"].append({"inputs": n, "seed": seed, "split": name, **row})
                print(record["made"][-1], flush=True)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
