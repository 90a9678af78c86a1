"""`FILE.py:FACTORY` as a model: FACTORY() returns a module, a target (a Classifier, a Defended) or a LoadedModel."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from torch import nn

from ...errors import ConfigError, TargetError, user_code
from ...targets import Classifier, Target
from ...targets.held_module import check_weights
from .. import python_file
from ..loaded import LoadedModel

WEIGHTS = frozenset({".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle", ".safetensors", ".h5", ".onnx", ".tar"})


def user_model(file: Path, factory: str, device: str) -> LoadedModel:
    """Return what FACTORY() returns as a model; a bare module is moved to `device` and takes images in [0, 1]."""
    name = f"{file}:{factory}"
    made = python_file.call_factory(file, factory)
    if isinstance(made, LoadedModel):
        return made
    if isinstance(made, nn.Module):
        check_weights(made, name)
        with user_code(f"{name} moved to {device}"):
            made.to(device)  # a module's own to() and eval() may return nothing
        with suppress(NotImplementedError), user_code(f"eval() of {name}", NotImplementedError):
            made.eval()
        made = Classifier(made, name=factory)
    if isinstance(made, Target):
        return LoadedModel(name, made, None, None, str(file), None)
    raise TargetError(
        f"{name} returned {type(made).__name__}; return a torch.nn.Module, a sparring.Classifier (with "
        "mean and std), a sparring.targets.Defended or a sparring.zoo.LoadedModel (with the size of its pictures too)"
    )


def refuse_weights(spec: str) -> None:
    """Raise TargetError for a file of weights: it is no model, and a pickle runs code when it is loaded."""
    if Path(spec).suffix.lower() in WEIGHTS:
        raise TargetError(
            f"{spec} is a file of weights, which are no model, and pickles are never run here; write a "
            "Python file with a function that builds the network and loads them (torch.load(..., "
            "weights_only=True) or safetensors), and name it as FILE.py:FACTORY"
        )


def refuse_bare_file(spec: str) -> None:
    """Raise ConfigError for a path that is no Python file."""
    if Path(spec).exists():
        raise ConfigError(f"{spec} is no model; name a Python file and its factory, as FILE.py:FACTORY")
