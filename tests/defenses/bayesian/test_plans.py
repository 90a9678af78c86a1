"""The plans of the zoo for one small network trained three ways, and the weights that they leave."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from sparring.defenses.bayesian import BayesianLayer
from sparring.defenses.randomization import NoiseLayer
from sparring.defenses.training.plan import read_training_plan
from sparring.errors import ConfigError
from sparring.experiments.train import factory_of
from sparring.zoo import load_model, plan_path

LAYERS = {
    "mnist-small-adv-bnn": (BayesianLayer, 4),
    "mnist-small-rse": (NoiseLayer, 3),
    "mnist-small-linf": (nn.Conv2d, 3),
}


@pytest.mark.parametrize("name", LAYERS)
def test_weights_of_a_plan_are_loaded_without_naming_its_file(name: str, tmp_path: Path) -> None:
    path = plan_path(name)
    assert path is not None
    plan, (kind, count) = read_training_plan(path), LAYERS[name]
    made = load_model(plan.model).target
    assert made(torch.rand(2, 1, 28, 28)).shape == (2, 10)
    assert sum(isinstance(module, kind) for module in made.model.modules()) == count
    written = path.read_text().replace("../..", str(path.parents[2]))
    (tmp_path / "plan.toml").write_text(written)
    weights = {name: torch.rand_like(value) for name, value in made.model.state_dict().items()}
    save_file(weights, tmp_path / "best.safetensors")
    assert factory_of(plan.model) == ""
    loaded = load_model(f"trained:{tmp_path}").target
    assert all(torch.equal(value, weights[name]) for name, value in loaded.model.state_dict().items())


def test_another_file_of_the_package_is_not_run(tmp_path: Path) -> None:
    path = plan_path("mnist-small-rse")
    assert path is not None
    written = path.read_text().replace("../..", str(path.parents[2])).replace("digit_nets.py", "abs.py")
    (tmp_path / "plan.toml").write_text(written)
    save_file({"weight": torch.zeros(1)}, tmp_path / "best.safetensors")
    with pytest.raises(ConfigError, match="is not run because a folder says so"):
        load_model(f"trained:{tmp_path}")
