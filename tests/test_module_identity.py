"""Two networks with the same weights and another structure, code or constant are two; the same network is one."""

import functools
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import sparring as sp
from sparring.engine import Engine, fingerprint
from sparring.errors import RunError

FILE_MEAN = 0.5


def mark(module):
    return fingerprint(*sp.Classifier(module, name="model").identity())


class Net(nn.Module):
    def __init__(self, activation=F.relu, heads=2, mean=(0.1, 0.2), config=None):
        super().__init__()
        self.linear, self.activation, self.heads = nn.Linear(4, 4), activation, heads
        self.mean, self.config = mean, config
        self.register_buffer("shift", torch.zeros(4), persistent=False)
        self.seen = 0
        with torch.no_grad():
            self.linear.weight.copy_(torch.arange(16.0).view(4, 4))
            self.linear.bias.fill_(0.5)

    def forward(self, x):
        self.seen += 1
        self.last = x
        return self.activation(self.linear(x)) + self.shift


class OtherForward(Net):
    def forward(self, x):
        return self.activation(self.linear(x)) - self.shift


class Commented(Net):
    """Of another name, and so another network."""


def halved(x):
    return x * 0.5


def thirds(x):
    return x * 0.3


def of_the_file(x):
    return x - FILE_MEAN


class Config:
    def __init__(self, width):
        self.width = width


def with_buffer(value):
    net = Net()
    net.shift.fill_(value)
    return net


def encoder(**options):
    torch.manual_seed(0)
    return nn.TransformerEncoderLayer(8, dim_feedforward=16, **options)


def scripted(net):
    with warnings.catch_warnings(action="ignore"):  # torch calls scripts deprecated, and people have them
        return torch.jit.freeze(torch.jit.script(net.eval()))


def two_layers(activation, scale=1.0):
    linear = nn.Linear(2, 2)
    with torch.no_grad():
        linear.weight.copy_(scale * torch.eye(2))
        linear.bias.zero_()
    return nn.Sequential(linear, activation)


@pytest.mark.parametrize(("make", "other"), [
    (Net, lambda: Net(F.gelu)),
    (Net, lambda: Net(heads=3)),
    (Net, lambda: Net(mean=(0.1, 0.3))),
    (Net, lambda: with_buffer(1.0)),
    (Net, OtherForward),
    (Net, Commented),
    (lambda: Net(halved), lambda: Net(thirds)),
    (lambda: Net(functools.partial(F.leaky_relu, negative_slope=0.1)),
     lambda: Net(functools.partial(F.leaky_relu, negative_slope=0.2))),
    (lambda: Net(lambda x: x.relu()), lambda: Net(lambda x: x.tanh())),
    (lambda: Net(config=Config(3)), lambda: Net(config=Config(4))),
    (lambda: Net(config={"width": 3}), lambda: Net(config={"width": 4})),
    (lambda: two_layers(nn.ReLU()), lambda: two_layers(nn.GELU())),
    (lambda: two_layers(nn.GELU()), lambda: two_layers(nn.GELU(approximate="tanh"))),
    (lambda: encoder(nhead=2), lambda: encoder(nhead=4)),
    (lambda: encoder(nhead=2), lambda: encoder(nhead=2, activation="gelu")),
    (lambda: encoder(nhead=2), lambda: encoder(nhead=2, norm_first=True)),
    (lambda: scripted(two_layers(nn.ReLU())), lambda: scripted(two_layers(nn.GELU()))),
    (lambda: scripted(two_layers(nn.ReLU())), lambda: scripted(two_layers(nn.ReLU(), 2.0))),
])  # fmt: skip
def test_networks_with_the_same_weights_have_their_own_identities(make, other):
    assert mark(make()) != mark(other())
    assert mark(make()) == mark(make())


def test_what_a_forward_pass_leaves_behind_is_no_part_of_the_identity():
    net = Net()
    before = mark(net)
    net(torch.rand(2, 4))
    assert net.seen == 1
    assert mark(net) == before
    assert mark(net.train()) == mark(net.eval())


def test_a_constant_of_the_file_is_part_of_the_identity(monkeypatch):
    before = mark(Net(of_the_file))
    monkeypatch.setattr(sys.modules[__name__], "FILE_MEAN", 0.6)
    assert mark(Net(of_the_file)) != before


def test_the_preprocessing_is_part_of_the_identity():
    net = Net()
    marks = [fingerprint(*sp.Classifier(net, mean=m, std=s).identity()) for m, s in ((0, 1), (0.1, 1), (0, 0.5))]
    assert len(set(marks)) == 3


def test_the_identity_is_the_same_in_another_process(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import torch, sparring as sp\nfrom torch import nn\nfrom sparring.engine import fingerprint\n"
        "SLOPE = 0.25\n"
        "class Net(nn.Module):\n"
        "    def __init__(self, activation):\n"
        "        super().__init__()\n"
        "        self.activation, self.object = activation, object()\n"
        "    def forward(self, x):\n"
        "        return self.activation(x).flatten(1) if x.ndim in {2, 3, 4} else SLOPE * x\n"
        "print(fingerprint(*sp.Classifier(Net(lambda x: x * SLOPE)).identity()))\n"
    )
    said = [
        subprocess.run(
            [sys.executable, str(program)],
            capture_output=True, text=True, check=True, env={"PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    ]  # fmt: skip
    assert said[0] == said[1]
    assert len(said[0].strip()) == 64


def test_a_checkpoint_of_another_activation_is_refused(tmp_path):
    def net(activation):
        return nn.Sequential(nn.Flatten(), Net(activation))

    images, goal = torch.full((2, 1, 2, 2), 0.5), sp.Misclassify(torch.tensor([3, 3]))
    engine = Engine(checkpoint=Path(tmp_path))
    attack = sp.attacks.PGD(sp.Linf(0.01), steps=2)
    sp.run(attack, sp.Classifier(net(F.relu)), goal, images, engine=engine)
    with pytest.raises(RunError, match="belongs to another run"):
        sp.run(attack, sp.Classifier(net(F.softplus)), goal, images, engine=engine)
