"""ONNX files: the same scores as the torch model they hold, either layout, and clear refusals."""

from __future__ import annotations

import sys

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

import sparring as sp
from sparring.attacks import PGD, Square
from sparring.errors import AccessError, AssetError, ConfigError, InputError, TargetError
from sparring.targets import Onnx
from sparring.zoo import load_model


def torch_net():
    torch.manual_seed(3)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 12), nn.ReLU(), nn.Linear(12, 4)).eval()


def write(path, *, batch="n", layout="NCHW", kind=TensorProto.FLOAT, soft=False, axes=4, outputs=1):
    """The net above as a graph, from images of one channel, 6 x 6."""
    net = torch_net()
    arrays = {name: value.detach().numpy() for name, value in net.named_parameters()}
    element = helper.tensor_dtype_to_np_dtype(kind)
    weights = [numpy_helper.from_array(value.astype(element), name) for name, value in arrays.items()]
    sides = {"NCHW": [1, 6, 6], "NHWC": [6, 6, 1]}[layout]
    nodes = [
        helper.make_node("Flatten", ["pixels"], ["flat"]),
        helper.make_node("Gemm", ["flat", "1.weight", "1.bias"], ["hidden"], transB=1),
        helper.make_node("Relu", ["hidden"], ["rectified"]),
        helper.make_node("Gemm", ["rectified", "3.weight", "3.bias"], ["logits"], transB=1),
        helper.make_node("Softmax", ["logits"], ["soft"]),
    ]
    given = [helper.make_tensor_value_info("soft" if soft else "logits", kind, [batch, 4])]
    if outputs == 2:
        given.append(helper.make_tensor_value_info("hidden", kind, [batch, 12]))
    shape = [batch, *sides] if axes == 4 else [batch, 36]
    graph = helper.make_graph(
        nodes, "net", [helper.make_tensor_value_info("pixels", kind, shape)], given, initializer=weights
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


@pytest.fixture
def x():
    return torch.rand(5, 1, 6, 6, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("batch", ["n", 1, 3])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.DOUBLE])
def test_the_scores_are_the_torch_models(tmp_path, x, batch, layout, kind):
    target = Onnx(write(tmp_path / "m.onnx", batch=batch, layout=layout, kind=kind), mean=0.5, std=0.25)
    with torch.no_grad():
        torch.testing.assert_close(target(x), torch_net()((x - 0.5) / 0.25), rtol=1e-4, atol=1e-5)
    assert target.target.layout == layout
    assert target(x.double()).dtype == torch.float64


def test_square_finds_on_the_file_what_it_finds_on_the_net(tmp_path, x):
    target = Onnx(write(tmp_path / "m.onnx"), classes=4)
    goal = sp.Misclassify(target(x).argmax(1))
    attack = Square(sp.Linf(0.2), n_queries=60)
    outcome = sp.run(attack, target, goal, x)
    local = sp.run(attack, sp.Restricted(sp.Classifier(torch_net()), sp.Scores), goal, x)
    assert torch.equal(outcome.success, local.success)
    torch.testing.assert_close(outcome.examples, local.examples)
    assert bool(outcome.success.any())


def test_gradients_are_refused(tmp_path, x):
    with pytest.raises(AccessError, match="PGD needs Gradients, and m grants Scores only"):
        sp.run(PGD(sp.Linf(0.1)), Onnx(write(tmp_path / "m.onnx")), sp.Misclassify(torch.zeros(5).long()), x)  # type: ignore[arg-type]


def test_probabilities_are_noticed_and_read(tmp_path, x):
    file = write(tmp_path / "m.onnx", soft=True)
    with pytest.raises(TargetError, match="the model returns probabilities"):
        sp.run(Square(sp.Linf(0.1), n_queries=1), Onnx(file), sp.Misclassify(torch.zeros(5).long()), x)
    with torch.no_grad():
        torch.testing.assert_close(Onnx(file, probabilities=True)(x), torch_net()(x).log_softmax(1))


def test_one_file_is_told_from_another(tmp_path):
    first = Onnx(write(tmp_path / "a.onnx"), name="m").identity()
    assert first == Onnx(write(tmp_path / "b.onnx"), name="m").identity()
    assert first != Onnx(write(tmp_path / "c.onnx", soft=True), name="m").identity()


def test_what_is_no_model_of_images_is_refused(tmp_path, x):
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(TargetError, match=r"text.onnx cannot be read as an ONNX model"):
        Onnx(tmp_path / "text.onnx")
    with pytest.raises(ConfigError, match=r"none.onnx does not exist; name an ONNX file"):
        Onnx(tmp_path / "none.onnx")
    with pytest.raises(TargetError, match="takes one float tensor of 4 axes"):
        Onnx(write(tmp_path / "flat.onnx", axes=2))
    with pytest.raises(ConfigError, match=r"outputs of .* are logits, hidden; name one as output="):
        Onnx(write(tmp_path / "two.onnx", outputs=2))
    assert Onnx(tmp_path / "two.onnx", output="hidden")(x).shape == (5, 12)
    with pytest.raises(InputError, match=r"takes images of shape \[1, 6, 6\], and these are \[3, 6, 6\]"):
        Onnx(write(tmp_path / "m.onnx"))(x.expand(5, 3, 6, 6))


def test_the_loader_reads_size_and_checksum(tmp_path):
    loaded = load_model(f"onnx:{write(tmp_path / 'm.onnx', layout='NHWC')}")
    assert (loaded.input.channels, loaded.input.height, loaded.input.width) == (1, 6, 6)
    assert len(loaded.sha256) == 64
    assert loaded.target.access is sp.Scores


def test_a_missing_package_is_named_with_its_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(AssetError, match=r"needs onnxruntime.*pip install 'sparring\[onnx\]'"):
        Onnx(write(tmp_path / "m.onnx"))


def test_scores_are_numbers_of_the_file_alone(tmp_path, x):
    """A padded batch changes no row."""
    whole = Onnx(write(tmp_path / "m.onnx", batch=3))(x)
    assert np.allclose(whole[:2].numpy(), Onnx(tmp_path / "m.onnx")(x[:2]).numpy(), atol=1e-6)
