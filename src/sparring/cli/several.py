"""Several models beside one another, and the data in the size of the largest."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ..errors import ConfigError
from ..targets import Ensemble
from ..zoo import Data, LoadedModel, count_classes, load_data, load_model
from ..zoo.loaders import LOADERS

UNNAMED = re.compile(rf"[./~]|(https?|{'|'.join(LOADERS)}):")  # how a MODEL begins, and no name


@dataclass(frozen=True)
class Several:
    """Models by name, what each was loaded as, and their data."""

    targets: dict[str, Any]  # for images of one size
    loaded: dict[str, LoadedModel]
    data: Data


def several(specs: list[str], data: str, device: str, limit: int | None) -> Several:
    """The models, each MODEL or NAME=MODEL, and the data that they are tried on.

    Raises:
        ConfigError: two models of one name.
    """
    loaded: dict[str, LoadedModel] = {}
    for spec in specs:
        name, model = named(spec)
        one = load_model(model, device=device)
        if (name or one.name) in loaded:
            raise ConfigError(f"{name or one.name} is given twice; a matrix is of different models, as NAME=MODEL")
        loaded[name or one.name] = one
    largest = max(loaded.values(), key=lambda one: one.input.height * one.input.width if one.input else 0)
    targets = {name: resized(one, largest) for name, one in loaded.items()}
    classes = count_classes(largest, data) if data.startswith("folder:") else None
    pictures = load_data(
        data, input=largest.input, class_names=largest.class_names, classes=classes, limit=limit
    )
    return Several(targets, loaded, pictures)


def named(spec: str) -> tuple[str, str]:
    """NAME and MODEL of `NAME=MODEL`; no name where it is a MODEL. A file with = in its name is ./FILE.py:FACTORY."""
    name, equals, model = (part.strip() for part in spec.partition("="))
    if not equals or UNNAMED.match(spec):
        return "", spec
    if not name or not model:
        raise ConfigError(f"{spec!r} names no model; write NAME=MODEL, as plain=zoo:mnist-plain")
    return name, model


def resized(one: LoadedModel, largest: LoadedModel) -> Any:
    """The model for images of the size of the largest one."""
    if one.input is None or largest.input is None:
        return one.target
    size, whole = (one.input.height, one.input.width), (largest.input.height, largest.input.width)
    return one.target if size == whole else Ensemble([one.target], sizes=[size])
