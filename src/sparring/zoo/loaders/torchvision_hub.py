"""`torchvision:NAME`: a classifier of torchvision with its default weights and their own preprocessing."""

from __future__ import annotations

from ...errors import ConfigError, TargetError, nearest
from ...targets import Classifier
from ..loaded import InputSpec, LoadedModel
from .optional import import_optional


def torchvision_model(name: str, device: str) -> LoadedModel:
    """Return `torchvision.models.get_model(NAME, weights=DEFAULT)` as a target."""
    models = import_optional("torchvision.models", "torchvision", "torchvision")
    known = models.list_models(module=models)
    if name not in known:
        raise ConfigError(f"torchvision has no classifier {name!r}.{nearest(name, known)}")
    weights = models.get_model_weights(name).DEFAULT
    try:
        net = models.get_model(name, weights=weights)
    except (RuntimeError, OSError, ValueError) as error:
        raise TargetError(f"torchvision:{name} cannot be loaded with its weights: {error}") from error
    preset = weights.transforms()
    crop, resize = preset.crop_size[0], preset.resize_size[0]
    spec = InputSpec(3, crop, crop, crop_fraction=crop / resize, interpolation=preset.interpolation.value)
    names = tuple(weights.meta["categories"])
    target = Classifier(net.eval().to(device), mean=preset.mean, std=preset.std, classes=len(names), name=name)
    version = import_optional("torchvision", "torchvision", "torchvision").__version__
    return LoadedModel(f"torchvision:{name}", target, spec, names, f"torchvision {version}, {weights}", None)
