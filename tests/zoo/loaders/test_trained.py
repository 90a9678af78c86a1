"""`trained:DIR`: the weights of a folder in the model that its plan names, and no code that it names."""

import hashlib
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from sparring.errors import ConfigError, RunError, TargetError
from sparring.zoo import load_model

NET = """
from pathlib import Path
import torch
from torch import nn
from sparring import Classifier

Path(__file__).with_name("ran").touch()

def net():
    return Classifier(nn.Sequential(nn.Flatten(), nn.Linear(36, 4)), mean=0.5, std=0.25, classes=4)

def function():
    return Classifier(lambda x: x.flatten(1))
"""
PLAN = 'model = "{}"\n[data]\ntrain = "zoo:mnist-train"\n[objective]\nname = "plain"\n'


@pytest.fixture
def folder(tmp_path):
    """A training of mine.py:net as a stranger would send it: best weights all ones, last ones all twos."""
    (tmp_path / "mine.py").write_text(NET)
    run = tmp_path / "run"
    run.mkdir()
    (run / "plan.toml").write_text(PLAN.format(f"{tmp_path}/mine.py:net"))
    for name, value in (("best", 1.0), ("last", 2.0)):
        save_file({"1.weight": torch.full((4, 36), value), "1.bias": torch.zeros(4)}, run / f"{name}.safetensors")
    return run


def test_the_best_weights_or_those_that_are_named(folder):
    own = f"{folder.parent}/mine.py:net"
    for where, value, file in ((folder, 1, "best"), (folder / "last.safetensors", 2, "last")):
        loaded = load_model(f"trained:{where}@{own}")
        assert bool((loaded.target.model[1].weight == value).all())
        assert not loaded.target.model.training
        weights = folder / f"{file}.safetensors"
        assert loaded.sha256 == hashlib.sha256(weights.read_bytes()).hexdigest()
        assert loaded.source == str(weights)
        assert loaded.target.name == "run"
        assert loaded.name == f"trained:{where}@{own}"
        images = torch.rand(3, 1, 6, 6, generator=torch.Generator().manual_seed(0))
        expected = value * ((images - 0.5) / 0.25).flatten(1).sum(1, keepdim=True).expand(3, 4)
        torch.testing.assert_close(loaded.target(images), expected)


def test_a_python_file_is_not_run_because_a_folder_says_so(folder):
    own = f"{folder.parent}/mine.py:net"
    with pytest.raises(ConfigError, match=f"if you trust the file, write trained:{folder}@{own}"):
        load_model(f"trained:{folder}")
    after = folder.parent / "after"
    after.mkdir()
    (after / "plan.toml").write_text(PLAN.format(f"trained:{folder}"))
    (after / "best.safetensors").write_bytes((folder / "best.safetensors").read_bytes())
    with pytest.raises(ConfigError, match=f"write trained:{after}@{own}"):
        load_model(f"trained:{after}")
    (after / "plan.toml").write_text(PLAN.format(f"trained:{folder}@{own}"))
    with pytest.raises(ConfigError, match=f"write trained:{after}@{own}"):
        load_model(f"trained:{after}")
    assert not (folder.parent / "ran").exists()


@pytest.fixture
def digits_folder(tmp_path):
    """A training that goes on from a training of the zoo's net, whose weights are gone."""
    net = load_model("zoo:mnist-plain").target.model
    first, second = tmp_path / "first", tmp_path / "second"
    for run, model in ((first, "zoo:mnist-plain"), (second, f"trained:{first}")):
        run.mkdir()
        (run / "plan.toml").write_text(PLAN.format(model))
    weights = {name: value + 0.5 for name, value in net.state_dict().items()}
    save_file(weights, second / "best.safetensors")
    return second, weights


def test_a_training_that_went_on_from_a_training(digits_folder):
    folder, weights = digits_folder
    loaded = load_model(f"trained:{folder}")
    assert (loaded.input.height, len(loaded.class_names)) == (28, 10)
    for name, value in loaded.target.model.state_dict().items():
        assert torch.equal(value, weights[name])


def test_what_is_no_training(folder, digits_folder, tmp_path):
    own = f"{tmp_path}/mine.py"
    second, weights = digits_folder
    with pytest.raises(ConfigError, match="there is no folder"):
        load_model(f"trained:{tmp_path}/none")
    with pytest.raises(RunError, match=r"first/best\.safetensors is not there"):
        load_model(f"trained:{tmp_path}/first")
    with pytest.raises(TargetError, match="is no module that could take weights"):
        load_model(f"trained:{folder}@{own}:function")
    with pytest.raises(TargetError, match=r"lacks 1\.bias, 1\.weight: these are no weights of .*mine\.py:net"):
        load_model(f"trained:{second}@{own}:net")
    save_file(weights | {"layers.0.weight": torch.zeros(3)}, second / "best.safetensors")
    with pytest.raises(
        TargetError, match=r"layers\.0\.weight has shape \(3,\), and zoo:mnist-plain wants \(16, 1, 4, 4\)"
    ):
        load_model(f"trained:{second}")
    (second / "plan.toml").write_text(PLAN.format(f"trained:{second}"))
    with pytest.raises(ConfigError, match="goes on from itself"):
        load_model(f"trained:{second}")
    for elsewhere in ("http://127.0.0.1:1/v2/models/x", "onnx:x.onnx"):
        (second / "plan.toml").write_text(PLAN.format(elsewhere))
        with pytest.raises(TargetError, match="which is no module"):
            load_model(f"trained:{second}")
    (second / "plan.toml").unlink()
    with pytest.raises(RunError, match=r"plan\.toml is not there"):
        load_model(f"trained:{second}")


def test_a_pickle_under_the_name_of_weights_is_not_run(digits_folder, tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "evil",))

    folder, _ = digits_folder
    (folder / "best.safetensors").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(RunError, match="cannot read"):
        load_model(f"trained:{folder}")
    assert not (tmp_path / "evil").exists()
