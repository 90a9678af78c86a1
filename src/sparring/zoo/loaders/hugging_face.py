"""`hf:ORG/NAME`: an image classifier of the Hugging Face hub, with its own image processor's settings.

`hf:ORG/NAME#texts=FILE.safetensors` is a zero-shot classifier: a model with `get_image_features` (CLIP, SigLIP), and
embeddings of texts, one for each class. Only safetensors are loaded, and no code of the repository is run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from ...errors import ConfigError, TargetError
from ...storage import read_file_tensors
from ...targets import Classifier, ZeroShotClassifier
from ...targets.zero_shot import check_texts
from ..loaded import InputSpec, LoadedModel
from ..pictures import FILTERS
from .optional import import_optional

CONVNEXT_SQUASHES = 384  # from this size on ConvNeXT's processor does not crop
FAILURES = (OSError, ValueError, RuntimeError, KeyError)


def hugging_face_model(name: str, device: str) -> LoadedModel:
    """Return `AutoModelForImageClassification.from_pretrained(NAME)` as a target."""
    name, _, options = name.partition("#")
    if name.count("/") != 1:
        raise ConfigError(f"hf:{name}: name a repository as hf:ORG/NAME")
    if options:
        return zero_shot_model(name, options, device)
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


def zero_shot_model(name: str, options: str, device: str) -> LoadedModel:
    """Return `AutoModel.from_pretrained(NAME)` with the texts of a file as a zero-shot classifier.

    Args:
        name: ORG/NAME of a model with `get_image_features`.
        options: `texts=FILE`, a safetensors file of one tensor (K, D), the embeddings of K classes in their order.

    The temperature is that of the model, 1 / exp(logit_scale), where it has one.

    Raises: ConfigError, InputError for texts that are none, TargetError.
    """
    word, _, path = options.partition("=")
    if word != "texts" or not path:
        raise ConfigError(f"hf:{name}#{options} is unknown; write hf:{name}#texts=FILE.safetensors")
    texts = read_texts(Path(path).expanduser())
    transformers = import_optional("transformers", "hf", "transformers")
    try:
        processor = transformers.AutoImageProcessor.from_pretrained(name, trust_remote_code=False)
        net = transformers.AutoModel.from_pretrained(name, use_safetensors=True, trust_remote_code=False)
    except FAILURES as error:
        raise TargetError(f"hf:{name} cannot be loaded with safetensors: {error}") from error
    if not callable(getattr(net, "get_image_features", None)):
        raise TargetError(f"hf:{name} has no get_image_features; leave #texts out, or name a model as CLIP")
    scale = getattr(net, "logit_scale", None)
    temperature = {} if scale is None else {"temperature": float((-torch.as_tensor(scale).detach()).exp())}
    normalized = bool(getattr(processor, "do_normalize", True))
    target = ZeroShotClassifier(
        ImageFeatures(net.eval().to(device)),
        texts.to(device),
        mean=processor.image_mean if normalized else None,
        std=processor.image_std if normalized else None,
        name=name,
        **temperature,
    )
    return LoadedModel(f"hf:{name}", target, input_of(name, processor, 3), None, f"Hugging Face hub, {name}", None)


class ImageFeatures(nn.Module):
    """Normalised images (B, 3, H, W) -> what `get_image_features` of a model says of them."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Any:
        """Return the embeddings (B, D), or an output that holds them."""
        return self.net.get_image_features(pixel_values=images)  # type: ignore[operator]  # a method of theirs


def read_texts(path: Path) -> Tensor:
    """Return the one tensor (K, D) of a safetensors file.

    Raises: ConfigError where it is none, InputError where the tensor cannot be embeddings of texts.
    """
    tensors = read_file_tensors(path)
    if len(tensors) != 1:
        names = ", ".join(sorted(tensors)) or "none"
        raise ConfigError(f"{path} holds {len(tensors)} tensors ({names:.200}); save one, the embeddings (K, D)")
    (texts,) = tensors.values()
    check_texts(texts)
    return texts.float()


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
