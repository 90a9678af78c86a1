"""Files of the user's: what they set, import late, or end with."""

import sys

import pytest
import torch

import sparring as sp
from sparring import isolation, testing
from sparring.errors import TargetError, UserCodeError
from sparring.zoo import load_model

NET = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Sequential(nn.Flatten(), nn.Linear(192, 4))

    def forward(self, x):
        {forward}

def build():
    torch.manual_seed(0)
    {build}
"""


@pytest.fixture(autouse=True)
def process(monkeypatch):
    """What a process remembers of the user's files, forgotten after the test."""
    for name in ("user", "from_file", "folders"):
        monkeypatch.setattr(isolation._Process, name, getattr(isolation._Process, name))


def written(folder, forward="return self.layer(x)", build="return Net()", head=""):
    (folder / "mine.py").write_text(head + NET.format(forward=forward, build=build))
    return f"{folder}/mine.py:build"


def attacked(target):
    images = testing.small_net(3).images.float()
    with torch.no_grad(), target.frozen():
        labels = target(images).argmax(1)
    return sp.run(sp.attacks.PGD(sp.Linf(0.2), steps=3), target, sp.Misclassify(labels), images)


def test_a_default_dtype_that_a_file_sets_is_its_own(tmp_path):
    head = "import torch\ntorch.set_default_dtype(torch.float64)\n"
    spec = written(tmp_path, "return self.layer(x) @ torch.eye(4)", head=head)
    target = load_model(spec).target
    assert torch.get_default_dtype() is torch.float32
    assert target.model.layer[1].weight.dtype is torch.float64
    found = attacked(target)
    assert found.examples.dtype is torch.float32
    assert found.success.any()
    assert torch.zeros(1).dtype is torch.float32


def test_a_default_device_that_a_file_sets_is_its_own(tmp_path):
    head = 'import torch\ntorch.set_default_device("meta")\n'
    spec = written(tmp_path, "return self.layer(x)", build="return Net().to_empty(device='cpu')", head=head)
    load_model(spec)
    assert torch.get_default_device() == torch.device("cpu")
    assert torch.zeros(1).device == torch.device("cpu")


def test_an_import_in_a_forward_pass_finds_the_files_neighbours(tmp_path):
    (tmp_path / "late_neighbour_of_mine.py").write_text("def double(x):\n    return 2 * x\n")
    (tmp_path / "colorsys.py").write_text("raise SystemError('a module of Python, in whose place this one stands')\n")
    spec = written(
        tmp_path, "import late_neighbour_of_mine\n        return late_neighbour_of_mine.double(self.layer(x))"
    )
    target = load_model(spec).target
    assert str(tmp_path) not in sys.path
    sys.modules.pop("colorsys", None)
    import colorsys

    assert colorsys.rgb_to_hsv(0, 0, 0) == (0, 0, 0)  # outside of the user's code a neighbour stands in nobody's place
    assert attacked(target).success.any()
    assert str(tmp_path) not in sys.path


@pytest.mark.parametrize(("build", "error", "words"), [
    ("raise SystemExit(0)", UserCodeError, r"called sys\.exit\(0\)"),
    ("import sys; sys.exit()", UserCodeError, r"called sys\.exit\(\)"),
    ("import asyncio; raise asyncio.CancelledError('over')", UserCodeError, "raised CancelledError: over"),
    ("return Net().to('meta')", TargetError, "on the meta device"),
    ("return nn.Sequential(nn.Flatten(), nn.LazyLinear(4))", TargetError, "a lazy layer"),
    ("return None", TargetError, "returned NoneType"),
])  # fmt: skip
@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_files_that_give_no_model_are_refused_in_one_line(tmp_path, build, error, words):
    with pytest.raises(error, match=words):
        load_model(written(tmp_path, build=build))


@pytest.mark.parametrize("made", [
    "batch = torch.export.Dim('batch', min=1, max=99)\n"
    "    return torch.export.export(Net(), (torch.rand(2, 3, 8, 8),), dynamic_shapes=({0: batch},)).module()",
    "Net.train = lambda self, mode=True: None\n    return Net()",
    "Net.to = lambda self, device: None\n    return Net()",
])  # fmt: skip
def test_modules_whose_eval_or_to_return_nothing_or_are_refused_are_models(tmp_path, made):
    assert attacked(load_model(written(tmp_path, build=made)).target).success.any()
