"""`sparring generalize`."""

import json
import re

import numpy as np
import pytest
import torch

from sparring.cli.specs.model_set import split_name
from sparring.experiments.figures import ColumnBlock, accuracy_map
from sparring.intervals import wilson

HOSTILE = "$\\frac{a$ [red]x[/red] \x1b[31m 模型 {} %s _ " + 20 * "a very long name, "

MODELS = """
import torch
from torch import nn

def made(seed, inside=36):
    def net():
        torch.manual_seed(3)
        whole = nn.Sequential(nn.Flatten(), nn.Linear(inside, 12), nn.ReLU(), nn.Linear(12, 4))
        torch.manual_seed(seed)
        with torch.no_grad():
            for weight in whole.parameters():
                weight += 0.1 * weight.abs().mean() * torch.randn_like(weight)
        return whole
    return net

a, b, small = made(1), made(2), made(3, 25)

class Stopped(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = made(4)()
    def forward(self, x):
        if x.requires_grad:
            raise KeyboardInterrupt
        return self.net(x)
"""
THREATS = ("--threat", "linf:0.02,8/255", "--threat", "l1:0.3", "--limit", 8, "--batch-size", 4)


@pytest.fixture
def models(tmp_path):
    (tmp_path / "several.py").write_text(MODELS)
    return lambda name: f"{tmp_path / 'several.py'}:{name}"


@pytest.fixture
def generalized(typed, user, models, tmp_path):
    """`generalized(MODEL..., options)`: the command on two nets with its defaults, into a folder."""

    def run(*words, specs=None, data=user[1], threats=THREATS):
        rows = [models("a"), f"other = {models('b')}"] if specs is None else specs
        return typed("generalize", *rows, "--data", data, *threats, "--out", tmp_path / "out", *words)

    return run


def record_in(tmp_path):
    return json.loads((tmp_path / "out" / "generalization.json").read_text())


def test_the_table_the_record_and_the_masks_agree(generalized, user, models, tmp_path):
    result = generalized("--union", "l1:0.3,linf:0.02", specs=[models("a"), f"other 8/255={models('b')}"])
    assert result.exit_code == 0, result.stderr
    record = record_in(tmp_path)
    assert [model["name"] for model in record["models"]] == [models("a"), "other 8/255"]
    assert record["models"][1]["model"] == models("b")
    assert [(threat["norm"], threat["text"]) for threat in record["threats"]] == [
        ("Linf", "0.02"), ("Linf", "8/255"), ("L1", "0.3"),
    ]  # fmt: skip
    assert record["unions"] == [["Linf 0.02", "Linf 8/255", "L1 0.3"], ["Linf 0.02", "L1 0.3"]]
    for model in record["models"]:
        stood = torch.tensor([[int(mark) for mark in line] for line in model["stood"]]).bool()
        assert stood.shape == (3, 8)
        robust = [part["count"] for part in model["robust"]]
        assert robust == stood.sum(1).tolist()
        assert robust[0] >= robust[1]
        assert [part["count"] for part in model["union"]] == [int(stood.all(0).sum()), int(stood[[0, 2]].all(0).sum())]
        assert model["clean"]["count"] >= max(robust)
        for part in [model["clean"], *model["robust"], *model["union"]]:
            assert (part["low"], part["high"]) == wilson(part["count"], 8)
    shown = [float(share) for share in re.findall(r"(?<![\d.])(\d+\.\d)%", result.stdout.split("intervals")[1])]
    assert shown == [
        pytest.approx(100 * part["count"] / 8, abs=0.05)
        for model in record["models"]
        for part in [model["clean"], *model["robust"], *model["union"]]
    ]
    assert any(0 < part["count"] < 8 for model in record["models"] for part in model["robust"])
    out = tmp_path / "out"
    assert (out / "generalization.png").read_bytes().startswith(b"\x89PNG")
    assert (out / "generalization.pdf").read_bytes().startswith(b"%PDF")
    assert len(list(out.iterdir())) == 3


def test_digits_under_three_norms(typed, digits, tmp_path):
    threats = ("--threat", "linf:0.02,0.3", "--threat", "l2:4", "--threat", "l1:40", "--union", "linf:0.02")
    words = ("generalize", "plain=zoo:mnist-plain", "--data", "zoo:mnist-heldout", *threats, "--limit", 10)
    result = typed(*words, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    (model,) = record_in(tmp_path)["models"]
    assert model["clean"]["count"] == 10
    assert [part["count"] for part in model["robust"]][1:] == [0, 0, 0]  # a net without a defense
    assert model["robust"][0]["count"] == model["union"][1]["count"] > 5
    assert model["union"][0]["count"] == 0
    assert model["sha256"] is not None
    assert "plain: clean 100.0%, under all threats 0.0% of 10 images" in result.stdout


def test_names_that_look_like_markup_are_shown_as_they_are(generalized, models, tmp_path):
    threats = ("--threat", "linf:0.02", "--limit", 4)
    result = generalized(specs=[f"{HOSTILE}={models('a')}"], threats=threats)
    assert result.exit_code == 0, result.stderr
    assert "$\\frac{a$ [red]x[/red] \\x1b[31m 模型 {} %s _" in result.stdout
    assert "\x1b" not in result.stdout
    assert record_in(tmp_path)["models"][0]["name"] == HOSTILE.strip()
    assert (tmp_path / "out" / "generalization.pdf").exists()


def test_the_picture_is_the_same_each_time_and_wide_enough_for_its_columns():
    def drawn(columns, names):
        part = torch.linspace(0, 1, len(names) * columns, dtype=torch.float64).view(len(names), columns)
        words = tuple(f"Linf 0.{i}\nL2 $2$" for i in range(columns))
        block = ColumnBlock("union", words, part, part * 0.9, 0.1 + part * 0.9)
        return accuracy_map(names, [block, block], "title $x_{$ \x1b")

    def size(png):
        return int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")

    first, again = drawn(5, [HOSTILE, "b"]), drawn(5, [HOSTILE, "b"])
    assert first == again
    assert size(drawn(10, [HOSTILE, "b"])["png"])[0] > 1.5 * size(first["png"])[0]
    assert size(drawn(5, [HOSTILE] * 6)["png"])[1] > 1.5 * size(first["png"])[1]


@pytest.mark.parametrize(
    ("typed_as", "name", "model"),
    [
        ("PGD 8/255=zoo:mnist-plain", "PGD 8/255", "zoo:mnist-plain"),
        ("a = runs/b=1/net.py:f", "a", "runs/b=1/net.py:f"),
        ("./eps=1/net.py:f", "", "./eps=1/net.py:f"),
        ("trained:runs/eps=1", "", "trained:runs/eps=1"),
        ("http://host/v2/models/m?x=1", "", "http://host/v2/models/m?x=1"),
    ],
)
def test_what_is_a_name_and_what_a_model(typed_as, name, model):
    assert split_name(typed_as) == (name, model)


def test_what_was_measured_before_an_interruption_is_kept(generalized, models, tmp_path):
    result = generalized(specs=[models("a"), f"later={models('Stopped')}", models("b")])
    assert result.exit_code == 130
    assert "interrupted at later; the 1 models before it are in" in result.stderr
    record = record_in(tmp_path)
    assert [model["name"] for model in record["models"]] == [models("a")]
    assert record["models asked for"] == [models("a"), "later", models("b")]


def test_an_interruption_at_the_first_model_says_that_nothing_is_there(generalized, models, tmp_path):
    result = generalized(specs=[models("Stopped")])
    assert result.exit_code == 130
    assert "nothing was written" in result.stderr
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"threats": ("--threat", "linf:2")}, "larger than the whole range"),
        ({"threats": ("--threat", "lnf:0.1")}, "Did you mean 'linf'?"),
        ({"threats": ("--threat", "l2:99")}, "larger than the whole range of these images"),
        ({"threats": (*THREATS, "--union", "linf:0.02,l2:1")}, "L2(1) is not attacked"),
        ({"threats": (*THREATS, "--union", "linf")}, "has no epsilon"),
        ({"threats": (*THREATS, "--limit", 0)}, "--limit 0 is no number from 1"),
        ({"threats": (*THREATS, "--batch-size", 0)}, "--batch-size 0 is no number from 1"),
        ({"data": "zoo:mnst"}, "no data set 'mnst'"),
        ({"specs": ["zoo:mnist-plan"]}, "Did you mean 'mnist-plain'?"),
        ({"specs": ["x=zoo:mnist-plain", "x=zoo:mnist-plain"]}, "x is given twice"),
        ({"specs": ["x="]}, "'x=' names no model"),
    ],
)
def test_bad_input(generalized, tmp_path, options, said):
    result = generalized(**options)
    assert (result.exit_code, said in result.stderr) == (2, True), result.stderr
    assert not (tmp_path / "out").exists()


def test_models_and_data_that_do_not_fit_are_refused_before_the_first_attack(generalized, models, tmp_path):
    def refused(said, **options):
        result = generalized(**options)
        assert (result.exit_code, said in result.stderr) == (2, True), result.stderr
        assert not (tmp_path / "out").exists()

    refused("cannot take images of shape (1, 6, 6)", specs=[models("Stopped"), models("small")])
    images = np.zeros((3, 1, 6, 6), dtype=np.uint8)
    np.savez(tmp_path / "bare.npz", images=images)
    refused("accuracy is of labels", data=f"npz:{tmp_path / 'bare.npz'}")
    np.savez(tmp_path / "odd.npz", images=images, labels=np.array([0, 1, 7]))
    refused("the model has 4 classes", data=f"npz:{tmp_path / 'odd.npz'}")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "kept").write_text("kept")
    result = generalized()
    assert (result.exit_code, "is not empty" in result.stderr) == (2, True)
