"""`timm:NAME`: a pretrained model of timm, with the mean, std, size and crop of its own configuration."""

from __future__ import annotations

from ...errors import ConfigError, TargetError, nearest
from ...targets import Classifier
from .. import imagenet_classes
from ..loaded import InputSpec, LoadedModel
from ..pictures import FILTERS
from .optional import import_optional

IMAGENET = 1000


def timm_model(name: str, device: str) -> LoadedModel:
    """Return `timm.create_model(NAME, pretrained=True)` as a target."""
    timm, timm_data = import_optional("timm", "timm", "timm"), import_optional("timm.data", "timm", "timm")
    if ":" not in name and not timm.is_model(name):
        raise ConfigError(f"timm has no model {name!r}.{nearest(name, timm.list_models())}")
    try:
        net = timm.create_model(name, pretrained=True)
    except (RuntimeError, OSError, ValueError) as error:
        raise TargetError(f"timm:{name} cannot be loaded with its weights: {error}") from error
    config = timm_data.resolve_data_config({}, model=net)
    channels, height, width = config["input_size"]
    classes = int(net.num_classes)
    interpolation = str(config["interpolation"])
    spec = InputSpec(
        channels,
        height,
        width,
        crop_fraction=float(config["crop_pct"]),
        interpolation=interpolation if interpolation in FILTERS else "bilinear",
        squash=config.get("crop_mode") == "squash",
    )
    target = Classifier(net.eval().to(device), mean=config["mean"], std=config["std"], classes=classes, name=name)
    names = imagenet_classes.class_names() if classes == IMAGENET else None
    return LoadedModel(f"timm:{name}", target, spec, names, f"timm {timm.__version__}", None)
