"""Loading of data sets by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from ..errors import ConfigError, nearest
from . import catalog, python_file
from .dataset import Data, DataRequest
from .folder import flat_folder, labelled_folder
from .loaded import InputSpec, LoadedModel
from .npz import npz_file
from .user_data import user_data
from .zoo_data import zoo_data

FILES: dict[str, Callable[[Path, DataRequest], Data]] = {
    "folder": labelled_folder,
    "flat": flat_folder,
    "npz": npz_file,
}


def load_data(
    spec: str,
    *,
    input: InputSpec | None,
    class_names: tuple[str, ...] | None = None,
    classes: int | None = None,
    limit: int | None = None,
) -> Data:
    """Load pictures for a model that takes `input`, as a stream.

    Args:
        spec: `zoo:NAME`, `folder:DIR` (labels from sub-folders), `flat:DIR` (no labels), `npz:FILE` or
            `FILE.py:FACTORY`, which runs the user's file.
        input: the size and channels that the model takes; None: pictures as they are.
        class_names: the model's, against which labels are read.
        classes: how many the model has.
        limit: take the first pictures only.

    Raises: ConfigError for an unknown spec, InputError for data that cannot be read, AssetError where something must be
        fetched first.
    """
    if limit is not None and limit < 1:
        raise ConfigError(f"limit must be at least 1, not {limit}")
    wanted = DataRequest(input, class_names, classes, limit)
    if user := python_file.split_factory(spec):
        return user_data(*user, wanted)
    scheme, _, rest = spec.partition(":")
    if rest and scheme == "zoo":
        return zoo_data(rest, wanted)
    if rest and scheme in FILES:
        return FILES[scheme](Path(rest).expanduser(), wanted)
    listed = "zoo:NAME, folder:DIR, flat:DIR, npz:FILE or FILE.py:FACTORY"
    raise ConfigError(f"{spec!r} names no data: use {listed}.{_hint(spec)}")


def count_classes(loaded: LoadedModel, spec: str) -> int | None:
    """Return how many classes the model has, where `folder:DIR` cannot be labelled without; else what it says.

    A model that does not say so is asked about the first picture that can be read.
    """
    promised: int | None = getattr(loaded.target, "classes", None)
    if promised is not None or loaded.class_names is not None or not spec.startswith("folder:"):
        return promised
    target, data = loaded.target.confirming_target, load_data(spec.replace("folder:", "flat:", 1), input=loaded.input)
    images = next(iter(data.chunks(1))).images
    with target.frozen(), torch.no_grad():
        outputs = target(images.to(target.device))
    logits: Tensor = getattr(outputs, "outputs", outputs)  # a detector's answer holds the logits
    return logits.shape[1]


def _hint(spec: str) -> str:
    if Path(spec).is_dir():
        return f" For that folder write folder:{spec}."
    if spec.endswith(".npz"):
        return f" For that file write npz:{spec}."
    return nearest(spec.partition(":")[2] or spec, catalog.DATA).replace("'", "'zoo:", 1)
