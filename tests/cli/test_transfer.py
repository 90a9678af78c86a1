"""`sparring transfer`."""

import json
import re

import pytest
import torch

MODELS = """
import torch
from torch import nn

def made(seed, size=6):
    def net():
        torch.manual_seed(3)
        whole = nn.Sequential(nn.Flatten(), nn.Linear(36, 12), nn.ReLU(), nn.Linear(12, 4))
        torch.manual_seed(seed)
        with torch.no_grad():
            for weight in whole.parameters():
                weight += 0.1 * weight.abs().mean() * torch.randn_like(weight)
        return whole
    return net

a, b, c = made(1), made(2), made(3)
"""
QUICK = ("--threat", "linf:0.2", "--steps", 5, "--batch-size", 8)


@pytest.fixture
def models(tmp_path):
    path = tmp_path / "several.py"
    path.write_text(MODELS)
    return [f"{path}:{name}" for name in "abc"]


def test_the_table_the_record_and_the_picture_agree(typed, user, models, tmp_path):
    out = tmp_path / "out"
    result = typed("transfer", *models, user[1], *QUICK, "--ensemble", "--out", out)
    assert result.exit_code == 0, result.stderr
    (record,) = [json.loads(file.read_text()) for file in out.glob("*.json")]
    assert record["made on"][:3] == record["tried on"] == models
    assert record["made on"][3] == "the others together"
    fell, images = torch.tensor(record["fell"]), record["images"]
    assert fell.shape == (4, 3)
    assert 10 < images <= 27  # three in thirty are labelled wrong
    assert (fell <= images).all()
    assert (fell.diagonal() > 0).all()
    shown = [int(share) for share in re.findall(r"(\d+)% \[", result.stdout)]
    assert shown == [round(100 * count / images) for count in fell.flatten().tolist()]
    (picture,) = out.glob("*.png")
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_chunks_change_nothing_and_techniques_and_targets_are_heard(typed, user, models, tmp_path):
    def counts(*words):
        out = tmp_path / f"out {len(list(tmp_path.glob('out *')))}"
        result = typed("transfer", *models[:2], user[1], "--threat", "linf:0.1", "--steps", 5, "--out", out, *words)
        assert result.exit_code == 0, result.stderr
        return json.loads(next(out.glob("*.json")).read_text())

    whole, parts = counts("--batch-size", 64), counts("--batch-size", 7)
    assert whole["fell"] == parts["fell"]
    assert whole["images"] == parts["images"]
    changed = counts("--technique", "di", "--technique", "si", "--attack", "bim")
    assert "InputDiversity" in changed["attack"]
    assert changed["attack"].index("ScaleInvariance") < changed["attack"].index("InputDiversity")
    targeted = counts("--targeted", 1)
    assert targeted["goal"] == "class 1"
    assert targeted["images"] != whole["images"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda models, data: [models[0], data], "transfer needs two models and data"),
        (lambda models, data: [models[0], models[0], data], "is given twice"),
        (lambda models, data: [*models, data, "--attack", "square"], "square asks for no gradient"),
        (lambda models, data: [*models, data, "--technique", "dd"], "Did you mean 'di'?"),
        (lambda models, data: [*models[:2], data, "--ensemble"], "needs 3 models"),
        (lambda models, data: [*models, data, "--targeted", 9], "targets[0] is 9"),
    ],
)
def test_bad_input(typed, user, models, change, said):
    result = typed("transfer", *change(models, user[1]))
    assert (result.exit_code, said in result.stderr) == (2, True), result.stderr
