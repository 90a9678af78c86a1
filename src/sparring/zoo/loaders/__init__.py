"""Loaders of models by name, one for each scheme (`zoo:`, `timm:`, `hf:`, ...)."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ...errors import ConfigError, nearest
from .. import catalog, python_file
from ..loaded import LoadedModel
from .hugging_face import hugging_face_model
from .onnx_file import onnx_model
from .remote_model import is_address, remote_model
from .robustbench_hub import robustbench_model
from .timm_hub import timm_model
from .torchvision_hub import torchvision_model
from .trained import SCHEME, trained_model
from .user_model import refuse_bare_file, refuse_weights, user_model
from .zoo_models import zoo_model


def _load_trained(name: str, device: str) -> LoadedModel:
    return trained_model(name, device, load_model)


LOADERS: dict[str, Callable[[str, str], LoadedModel]] = {
    "zoo": zoo_model,
    "timm": timm_model,
    "torchvision": torchvision_model,
    "hf": hugging_face_model,
    "robustbench": robustbench_model,
    "onnx": onnx_model,
    SCHEME: _load_trained,
}


def load_model(spec: str, *, device: str = "cpu") -> LoadedModel:
    """Load the model that `spec` names, ready to be attacked on `device`.

    Args:
        spec: `zoo:NAME`, `timm:NAME`, `torchvision:NAME`, `hf:ORG/NAME[#texts=FILE]`,
            `robustbench:NAME[/DATASET/THREAT]`, `onnx:FILE`, `trained:DIR`, `http://HOST/v2/models/NAME` or
            `FILE.py:FACTORY`, which runs the user's file.
        device: "cpu", "cuda" or "cuda:0".

    Raises: ConfigError (unknown name), AssetError (something to fetch or install first), TargetError (what was found is
        no model).
    """
    _check_device(device)
    if is_address(spec):
        return remote_model(spec)
    scheme, _, name = spec.partition(":")
    if scheme != SCHEME and (user := python_file.split_factory(spec)):
        return user_model(*user, device)
    if name and scheme in LOADERS:
        return LOADERS[scheme](name, device)
    refuse_weights(spec)
    refuse_bare_file(spec)
    near = nearest(name or scheme, catalog.MODELS).replace("'", "'zoo:", 1)
    hubs = "timm:NAME, torchvision:NAME, hf:ORG/NAME, robustbench:NAME[/DATASET/THREAT], onnx:FILE, trained:DIR, http://HOST/..."
    raise ConfigError(f"{spec!r} names no model: use zoo:NAME, {hubs} or FILE.py:FACTORY.{near}")


def _check_device(device: str) -> None:
    try:
        wanted = torch.device(device)
    except RuntimeError as error:
        raise ConfigError(f"device {device!r} is unknown; use cpu, cuda or cuda:0") from error
    if wanted.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device {device!r} is not here: torch {torch.__version__} sees no CUDA GPU; use cpu")
