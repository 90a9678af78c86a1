"""`sparring certify NET.onnx SPEC.vnnlib` and `sparring certify INSTANCES.csv`: answers, files, exit codes."""

import csv
import gzip
import json

import numpy as np
import pytest
from torch import nn

from ..defenses.certification.properties.conftest import boxed, dense_file, linear

pytest.importorskip("onnxruntime")


@pytest.fixture
def files(tmp_path):
    """y = relu(x) on [0, 1], and properties that hold, fail, ask for too much, and are none."""
    net = nn.Sequential(linear([[1.0]]), nn.ReLU(), linear([[1.0]]))
    (tmp_path / "net.onnx").write_bytes(dense_file(net))
    texts = {"holds": "(>= Y_0 1.5)", "fails": "(>= Y_0 0.5)", "hidden": "(=> 1 2)", "edge": "(< Y_0 0)"}
    for name, text in texts.items():
        (tmp_path / f"{name}.vnnlib").write_text(boxed([0], [1], text))
    return tmp_path


def test_one_property_answers_on_standard_output(typed, files):
    proven = typed("certify", files / "net.onnx", files / "holds.vnnlib")
    assert (proven.exit_code, proven.stdout) == (0, "unsat\n"), proven.output
    assert "onnxruntime differ by at most" in proven.stderr
    broken = typed("certify", f"onnx:{files / 'net.onnx'}", files / "fails.vnnlib")
    assert broken.exit_code == 1
    first, x, y = broken.stdout.splitlines()
    assert first == "sat"
    value = float(x.removeprefix("((X_0 ").removesuffix(")"))
    assert 0.5 <= value <= 1
    assert value == np.float32(value)
    assert y == f"(Y_0 {value!r}))"


def test_a_list_goes_on_where_it_was(typed, files):
    listed = files / "instances.csv"
    listed.write_text(
        """net.onnx,./holds.vnnlib,60

net.onnx,fails.vnnlib,60
"[('f', 'net.onnx')]",edge.vnnlib,60
net.onnx,hidden.vnnlib,60
"[('f', 'a.onnx'), ('g', 'b.onnx')]",holds.vnnlib,60
"""
    )
    (files / "net.onnx.gz").write_bytes(gzip.compress((files / "net.onnx").read_bytes()))
    (files / "net.onnx").unlink()
    out = files / "out"
    first = typed("certify", listed, "--out", out)
    assert first.exit_code == 2, first.output
    rows = list(csv.DictReader((out / "results.csv").read_text().splitlines()))
    assert [row["answer"] for row in rows] == ["unsat", "sat", "unknown", "error", "error"]
    assert "(=> ...)" in rows[3]["error"]
    assert "2 networks (f, g)" in rows[4]["error"]
    assert "2 error, 1 sat, 1 unknown, 1 unsat of 5 properties" in first.stdout
    assert (out / "instance-00000.txt").read_text() == "unsat\n"
    assert (out / "instance-00001.txt").read_text().startswith("sat\n((X_0 ")
    record = json.loads((out / "instance-00001.json").read_text())
    (out / "instance-00001.json").write_text(json.dumps({**record, "method": "from the record"}))
    again = typed("certify", listed, "--out", out)
    assert "from the record" in again.stdout
    (files / "fails.vnnlib").write_text(boxed([0], [1], "(>= Y_0 0.6)"))
    other = typed("certify", listed, "--out", out)
    assert other.exit_code == 2
    assert "instance-00001.json is of other files" in other.stderr
    longer = typed("certify", listed, "--out", out, "--timeout", 30)
    assert "belongs to other instances" in longer.stderr


@pytest.mark.parametrize(("words", "said"), [
    (("net.onnx",), "certify needs DATA, or a property"),
    (("net.onnx", "holds.vnnlib", "--threat", "linf:1"), "--threat means nothing for a property"),
    (("net.onnx", "holds.vnnlib", "--timeout", 0), "--timeout 0 leaves no time"),
    (("none.onnx", "holds.vnnlib"), "none.onnx is no file"),
    (("holds.vnnlib", "holds.vnnlib"), "no valid ONNX model"),
    (("net.onnx", "hidden.vnnlib"), "hidden.vnnlib, line 5"),
    (("empty.csv",), "has 0 instances"),
    (("bad.csv",), "bad.csv, line 2: 'soon' is no number"),
    (("short.csv",), "short.csv, line 1"),
])  # fmt: skip
def test_what_cannot_be_answered_is_one_line(typed, files, words, said):
    (files / "empty.csv").write_text("\n")
    (files / "bad.csv").write_text("net.onnx,holds.vnnlib,1\nnet.onnx,holds.vnnlib,soon\n")
    (files / "short.csv").write_text("net.onnx\n")
    paths = [files / one if str(one).endswith((".onnx", ".vnnlib", ".csv")) else one for one in words]
    result = typed("certify", *paths)
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
