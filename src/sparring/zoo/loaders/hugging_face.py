"""`hf:ORG/NAME`: an image classifier of the Hugging Face hub, with its own image processor's settings.

Only safetensors are loaded, and no code of the repository is run.
"""

from __future__ import annotations

from typing import Any

from PIL import Image

from ...errors import ConfigError, TargetError
from ...targets import Classifier
from ..loaded import InputSpec, LoadedModel
from ..pictures import FILTERS
from .optional import import_optional

CONVNEXT_SQUASHES = 384  # from this size on ConvNeXT's processor does not crop
FAILURES = (OSError, ValueError, RuntimeError, KeyError)


def hugging_face_model(name: str, device: str) -> LoadedModel:
    """Return `AutoModelForImageClassification.from_pretrained(NAME)` as a target."""
    if name.count("/") != 1:
        raise ConfigError(f"hf:{name}: name a repository as hf:ORG/NAME")
    transformers = import_optional("transformers", "hf", "transformers")
    try:
        processor = transformers.AutoImageProcessor.from_pretrained(name, trust_remote_code=False)
        net = transformers.AutoModelForImageClassification.from_pretrained(
            name, use_safetensors=True, trust_remote_code=False
        )
    except FAILURES as error:
        raise TargetError(f"hf:{name} cannot be loaded as an image classifier with safetensors: {error}") from error
    names = tuple(str(net.config.id2label[place]) for place in range(len(net.config.id2label)))
    normalized = bool(getattr(processor, "do_normalize", True))
    target = Classifier(
        net.eval().to(device),
        mean=processor.image_mean if normalized else None,
        std=processor.image_std if normalized else None,
        classes=len(names),
        name=name,
    )
    spec = input_of(name, processor, int(getattr(net.config, "num_channels", 3)))
    return LoadedModel(f"hf:{name}", target, spec, names, f"Hugging Face hub, {name}", None)


def input_of(name: str, processor: Any, channels: int) -> InputSpec:
    """Return the processor's size, crop and filter; height and width without a crop squash the picture."""
    size: dict[str, int] = dict(processor.size)
    interpolation = filter_of(processor)
    cropped = bool(getattr(processor, "do_center_crop", False))
    crop: dict[str, int] = dict(getattr(processor, "crop_size", None) or {}) if cropped else {}
    if "shortest_edge" in size:
        edge = int(size["shortest_edge"])
        if crop:
            height, width = int(crop["height"]), int(crop["width"])
            return InputSpec(channels, height, width, min(height, width) / edge, interpolation)
        fraction = getattr(processor, "crop_pct", None)
        if fraction and edge >= CONVNEXT_SQUASHES:
            return InputSpec(channels, edge, edge, 1.0, interpolation, squash=True)
        return InputSpec(channels, edge, edge, float(fraction or 1.0), interpolation)
    if "height" in size and "width" in size:
        height, width = int(crop.get("height", size["height"])), int(crop.get("width", size["width"]))
        fraction = min(1.0, height / int(size["height"]))
        return InputSpec(channels, height, width, fraction, interpolation, squash=fraction == 1.0)
    raise TargetError(
        f"hf:{name}: the image processor's size {size} is of a kind that is not read; use FILE.py:FACTORY"
    )


def filter_of(processor: Any) -> str:
    """Return the name of the filter, which processors give as Pillow's number, as an enum or not at all."""
    given = getattr(processor, "resample", None)
    value = getattr(given, "value", given)
    if isinstance(value, str):
        return value if value in FILTERS else "bilinear"
    return "bilinear" if value is None else Image.Resampling(int(value)).name.lower()
