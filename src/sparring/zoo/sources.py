"""Loading of data: one function for names of the command line, paths and objects of Python."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import ConfigError, InputError, nearest
from ..goals import Goal
from ..inputs import Images
from ..targets import Target
from ..tasks import Classification
from . import catalog, python_file
from .arrays import check_scale
from .batches import Batches, holds_batches
from .dataset import Data, DataRequest, DataSource
from .folder import flat_folder, labelled_folder
from .loaded import InputSpec, LoadedModel
from .npz import npz_file
from .user_data import factory_data, object_data
from .zoo_data import zoo_data

FILES: dict[str, Callable[[Path, DataRequest], Data]] = {
    "folder": labelled_folder,
    "flat": flat_folder,
    "npz": npz_file,
}
LISTED = "zoo:NAME, folder:DIR, flat:DIR, npz:FILE or FILE.py:FACTORY"


def load_data(
    data: Any,
    model: Target[Any] | LoadedModel | None = None,
    *,
    input: InputSpec | None = None,
    class_names: tuple[str, ...] | None = None,
    classes: int | None = None,
    limit: int | None = None,
    scale: float | None = None,
    labels: Path | str | None = None,
) -> Data:
    """Load images and labels from whatever holds them, as a stream; `.tensors()` gives all of it at once.

    Args:
        data: as on the command line `zoo:NAME`, `folder:DIR` (labels from sub-folders), `flat:DIR` (no labels),
            `npz:FILE` or `FILE.py:FACTORY`, which runs the user's file; a path of a folder or an .npz file; or an
            object: images (N, C, H, W), (images, labels), a data set with `len` and `[i]`, a DataLoader, a list of
            batches.
        model: what the data is for; it says size, channels and classes where the arguments below do not.
        input: the size and channels that the model takes; None: pictures as they are.
        class_names: the model's, against which labels are read.
        classes: how many the model has.
        limit: take the first pictures only.
        scale: the value of white in arrays, and in pictures of more than 8 bits: 4095 for 12 bits. None: 255 for uint8,
            65535 for 16-bit pictures, 1 for floats.
        labels: a table of file names and labels, in place of the names of the sub-folders.

    Raises: ConfigError for an unknown name, InputError for data that cannot be read, AssetError where something must be
        fetched first.
    """
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        raise ConfigError(f"limit must be at least 1, not {limit!r:.80}")
    wanted = wanted_by(model)
    wanted = DataRequest(
        input=input or wanted.input,
        class_names=class_names or wanted.class_names,
        classes=classes or wanted.classes,
        limit=limit,
        scale=check_scale(scale),
        label_file=None if labels is None else Path(labels).expanduser(),
    )
    if isinstance(data, Path):
        data = spec_of_path(data)
    if not isinstance(data, str):
        return object_data(object_name(data), data, wanted)
    if user := python_file.split_factory(data):
        return factory_data(*user, wanted)
    scheme, _, rest = data.partition(":")
    if rest and scheme == "zoo":
        return zoo_data(rest, wanted)
    if rest and scheme in FILES:
        return FILES[scheme](Path(rest).expanduser(), wanted)
    raise ConfigError(f"{data!r} names no data: use {LISTED}.{_hint(data)}")


def wanted_by(model: Target[Any] | LoadedModel | None) -> DataRequest:
    """Return what a model says of the data that it takes."""
    loaded = model if isinstance(model, LoadedModel) else None
    target = model.target if isinstance(model, LoadedModel) else model
    return DataRequest(
        input=loaded.input if loaded else None,
        class_names=loaded.class_names if loaded else None,
        classes=getattr(target, "classes", None),
    )


def load_source(data: Any, model: Target[Any] | LoadedModel) -> DataSource:
    """Return the data of an audit: for a classifier of images what `load_data` takes, and batches of any task.

    Batches are (images, labels), images alone, (inputs, goal) where the goal has a row per input, or either with a
    context as its third part. Those in a list or a DataLoader are read as they come, in batches.

    Raises: as `load_data`.
    """
    if isinstance(data, DataSource):
        return data
    target = model.target if isinstance(model, LoadedModel) else model
    wanted, name = wanted_by(model) if takes_plain_images(target) else None, type(data).__name__
    if isinstance(data, tuple) and len(data) in (2, 3) and isinstance(data[0], Tensor | np.ndarray):
        if wanted is None or len(data) == 3 or isinstance(data[1], Goal):
            return Batches([data], name, wanted)
        return load_data(data, model)
    if wanted is None or streams_batches(data):
        return Batches(data, name, wanted)
    return load_data(data, model)


def takes_plain_images(target: Target[Any]) -> bool:
    """Tell whether it is a classifier of images in [0, 1], which data of all forms can be brought to."""
    return isinstance(target.task, Classification) and target.inputs == Images()


def streams_batches(data: Any) -> bool:
    """Tell whether an object gives batches when it is iterated: a DataLoader, a list of batches, an iterable."""
    if isinstance(data, torch.utils.data.DataLoader) or holds_batches(data):
        return True
    return isinstance(data, Iterable) and not hasattr(data, "__getitem__")


def object_name(data: Any) -> str:
    """Return what an object of data is called in reports and errors: its kind."""
    arrays = {tuple: "(images, labels)", np.ndarray: "images", Tensor: "images"}
    return arrays.get(type(data), type(data).__name__)


def spec_of_path(path: Path) -> str:
    """Return what a path is called on the command line; InputError where it is no data."""
    if path.is_dir():
        return f"folder:{path}"
    if path.suffix.lower() == ".npz":
        return f"npz:{path}"
    raise InputError(f"{path} is no folder of pictures and no .npz file; use {LISTED}")


def count_classes(loaded: LoadedModel, spec: str, scale: float | None = None) -> int | None:
    """Return how many classes the model has, where `folder:DIR` cannot be labelled without; else what it says.

    A model that does not say so is asked about the first picture that can be read.
    """
    promised: int | None = getattr(loaded.target, "classes", None)
    if promised is not None or loaded.class_names is not None or not spec.startswith("folder:"):
        return promised
    return ask_classes(loaded, load_data(spec.replace("folder:", "flat:", 1), input=loaded.input, scale=scale))


def ask_classes(loaded: LoadedModel, data: Data) -> int:
    """Return how many classes the model has, by its answer to the first image of the data."""
    target, images = loaded.target.confirming_target, next(iter(data.chunks(1))).images
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
