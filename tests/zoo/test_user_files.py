"""`FILE.py:FACTORY`, as a model and as data; files that are no model at all."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch

from sparring.errors import ConfigError, InputError, TargetError, UserCodeError
from sparring.targets import Classifier
from sparring.zoo import InputSpec, load_data, load_model

MODELS = """
import torch
from torch import nn
from sparring.targets import Classifier
from sparring.zoo import InputSpec, LoadedModel
from neighbour import WIDTH

def module():
    return nn.Sequential(nn.Flatten(), nn.Linear(WIDTH, 4))

def classifier():
    return Classifier(module(), mean=0.5, std=0.5, classes=4)

def loaded():
    return LoadedModel("mine", classifier(), InputSpec(1, 2, 2), ("a", "b", "c", "d"), "my own", None)

class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(WIDTH, 4)
    def forward(self, x):
        return self.linear(x.flatten(1))

def number():
    return 4

def failing():
    raise ValueError("no weights")
"""
DATA = """
import numpy as np
import torch
from PIL import Image

def pair():
    return torch.linspace(0, 1, 48).reshape(4, 3, 2, 2), torch.tensor([0, 1, 2, 3])

def alone():
    return np.zeros((4, 2, 2, 3), dtype=np.uint8)

class Pictures:
    def __len__(self):
        return 3
    def __getitem__(self, place):
        return Image.new("RGB", (20 + place, 10), (255, 0, 0)), place

def tensors():
    return torch.utils.data.TensorDataset(*pair())

def loader():
    return torch.utils.data.DataLoader(tensors(), batch_size=2)

def bytes_as_floats():
    return pair()[0] * 255, pair()[1]

def empty():
    return []

def wrong_label():
    return pair()[0], torch.tensor([0, 1, 2, 4])
"""


@pytest.fixture
def models(tmp_path: Path) -> Path:
    (tmp_path / "neighbour.py").write_text("WIDTH = 4")
    (tmp_path / "models.py").write_text(MODELS)
    return tmp_path / "models.py"


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    (tmp_path / "pictures.py").write_text(DATA)
    return tmp_path / "pictures.py"


@pytest.mark.parametrize("factory", ["module", "classifier", "loaded", "Network"])
def test_a_factory_gives_a_model(models: Path, factory: str) -> None:
    model = load_model(f"{models}:{factory}")
    assert isinstance(model.target, Classifier)
    assert model.target(torch.rand(3, 1, 2, 2)).shape == (3, 4)
    assert model.input == (InputSpec(1, 2, 2) if factory == "loaded" else None)
    assert model.name == ("mine" if factory == "loaded" else f"{models}:{factory}")


@pytest.mark.parametrize(
    ("factory", "error", "message"),
    [
        (
            "number",
            TargetError,
            r"models\.py:number returned int; return a torch\.nn\.Module, a sparring\.Classifier",
        ),
        ("failing", UserCodeError, r"models\.py:failing raised ValueError: no weights"),
        (
            "modul",
            ConfigError,
            r"models\.py has no function or class 'modul' to call\. Did you mean 'module'\?",
        ),
        ("", ConfigError, "has no function or class ''"),
    ],
)
def test_a_factory_that_gives_no_model_is_named(
    models: Path, factory: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        load_model(f"{models}:{factory}")


def test_a_file_without_a_factory_asks_for_one(models: Path) -> None:
    with pytest.raises(ConfigError, match=r"models\.py: say which function or class to call, as .*models\.py:NAME"):
        load_model(str(models))


def test_a_file_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.py does not exist"):
        load_model(f"{tmp_path / 'nowhere.py'}:net")


def test_a_file_with_a_fault_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("def net(:")
    with pytest.raises(UserCodeError, match=r"broken\.py:net raised SyntaxError"):
        load_model(f"{tmp_path / 'broken.py'}:net")


class Trap:
    """Unpickling this writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.path), "w")


@pytest.mark.parametrize("name", ["model.pt", "model.pth", "model.pkl", "model.bin", "model.safetensors"])
def test_a_pickle_is_refused_and_never_run(tmp_path: Path, name: str) -> None:
    trap = tmp_path / "sprung"
    (tmp_path / name).write_bytes(pickle.dumps(Trap(trap)))
    with pytest.raises(
        TargetError, match=rf"{name} is a file of weights, which are no model, and pickles are never run"
    ):
        load_model(str(tmp_path / name))
    assert not trap.exists()


def test_a_pickle_under_a_python_name_is_not_run_either(tmp_path: Path) -> None:
    trap = tmp_path / "sprung"
    (tmp_path / "model.py").write_bytes(pickle.dumps(Trap(trap)))
    with pytest.raises(UserCodeError, match=r"model\.py:net raised SyntaxError"):
        load_model(f"{tmp_path / 'model.py'}:net")
    assert not trap.exists()


def test_another_file_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "model.txt").write_text("")
    with pytest.raises(ConfigError, match=r"model\.txt is no model; name a Python file and its factory"):
        load_model(str(tmp_path / "model.txt"))


@pytest.mark.parametrize("factory", ["pair", "tensors", "loader"])
def test_a_factory_gives_images_and_labels(pictures: Path, factory: str) -> None:
    data = load_data(f"{pictures}:{factory}", input=None, classes=4)
    [chunk] = data.chunks(8)
    assert data.labelled
    assert chunk.labels is not None
    assert chunk.labels.tolist() == [0, 1, 2, 3]
    torch.testing.assert_close(chunk.images, torch.linspace(0, 1, 48).reshape(4, 3, 2, 2))


def test_a_factory_gives_images_alone(pictures: Path) -> None:
    data = load_data(f"{pictures}:alone", input=None, limit=3)
    [chunk] = data.chunks(8)
    assert (data.labelled, chunk.labels, tuple(chunk.images.shape)) == (False, None, (3, 3, 2, 2))


def test_a_data_set_of_pil_images_is_fitted_to_the_model(pictures: Path) -> None:
    [chunk] = load_data(f"{pictures}:Pictures", input=InputSpec(3, 8, 8), classes=3).chunks(8)
    assert chunk.images.shape == (3, 3, 8, 8)
    assert chunk.images[:, 0].min() == 1
    assert chunk.labels is not None
    assert chunk.labels.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("bytes_as_floats", r"image \d has pixels from .*divide by 255"),
        ("empty", "is an empty data set"),
        ("wrong_label", "image 3 has the label 4; the model's classes are 0 to 3"),
    ],
)
def test_a_factory_that_gives_no_data_is_named(pictures: Path, factory: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        list(load_data(f"{pictures}:{factory}", input=None, classes=4).chunks(8))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "zoo:efficientnet-lite9",
            r"the zoo has no model 'efficientnet-lite9' .* Did you mean 'efficientnet-lite\d'\?",
        ),
        ("mnist-plain", r"'mnist-plain' names no model: use zoo:NAME, .* Did you mean 'zoo:mnist-plain'\?"),
        ("tim:resnet50", r"'tim:resnet50' names no model: use zoo:NAME, timm:NAME, torchvision:NAME"),
        ("zoo:", "'zoo:' names no model"),
    ],
)
def test_an_unknown_model_gets_the_nearest_one(spec: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_model(spec)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("zoo:foto", r"the zoo has no data set 'foto' .* Did you mean 'photos'\?"),
        ("mnist5k", r"'mnist5k' names no data: use zoo:NAME, .* Did you mean 'zoo:mnist-5k'\?"),
        ("a/b.npz", r"For that file write npz:a/b\.npz"),
        ("http://x", "'http://x' names no data"),
    ],
)
def test_unknown_data_gets_the_nearest_one(spec: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_data(spec, input=None)


def test_a_bare_folder_is_told_its_scheme(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"For that folder write folder:{tmp_path}"):
        load_data(str(tmp_path), input=None)


@pytest.mark.parametrize("device", ["gpu", "cuda:99"])
def test_a_device_that_is_not_here_is_named(device: str) -> None:
    with pytest.raises(ConfigError, match=f"device '{device}' is"):
        load_model("zoo:mnist-plain", device=device)


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(ConfigError, match="limit must be at least 1, not 0"):
        load_data("zoo:photos", input=None, limit=0)


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ("3.7", r"has the label 3\.7; a label is a whole number"),
        ("torch.tensor(1.5)", r"has the label 1\.5; a label is a whole number"),
        ("True", r"has the label True; a bool is no class"),
        ("'cat'", r"has the label 'cat'"),
        ("[0, 1]", r"one-hot labels of 2 classes, and the model has 4"),
    ],
)
def test_a_label_of_a_data_set_that_is_no_whole_number_is_refused(tmp_path: Path, label: str, said: str) -> None:
    (tmp_path / "data.py").write_text(
        "import torch\n\nclass Rows:\n    def __len__(self):\n        return 2\n\n    def __getitem__(self, place):\n"
        f"        return torch.rand(1, 2, 2), (0, {label})[place]\n"
    )
    with pytest.raises(InputError, match=said):
        list(load_data(f"{tmp_path / 'data.py'}:Rows", input=None, classes=4).chunks(8))


def test_rows_of_a_picture_alone_have_no_label(tmp_path: Path) -> None:
    (tmp_path / "data.py").write_text(
        "import torch\n\ndef rows():\n    return torch.utils.data.TensorDataset(torch.rand(3, 1, 2, 2))\n"
    )
    data = load_data(f"{tmp_path / 'data.py'}:rows", input=None, classes=4)
    assert not data.labelled
    assert [chunk.labels for chunk in data.chunks(8)] == [None]


def test_a_name_that_is_a_model_or_data_already_is_taken(tmp_path: Path) -> None:
    file = tmp_path / "made.py"
    file.write_text(
        MODELS.replace("from neighbour import WIDTH", "WIDTH = 4")
        + "\nnet = module()\nready = classifier()\npair = (torch.rand(3, 1, 2, 2), torch.tensor([0, 1, 2]))\n"
        + "data = torch.utils.data.TensorDataset(*pair)\n"
    )
    for name in ("net", "ready"):
        model = load_model(f"{file}:{name}")
        assert model.target(torch.rand(3, 1, 2, 2)).shape == (3, 4)
    for name in ("pair", "data"):
        assert load_data(f"{file}:{name}", model).tensors()[1].tolist() == [0, 1, 2]
    with pytest.raises(ConfigError, match="no function or class 'torch'"):
        load_model(f"{file}:torch")
