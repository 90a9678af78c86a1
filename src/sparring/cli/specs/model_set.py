"""Parsing of several MODEL or NAME=MODEL and one DATA, for matrices; images take the size of the largest model."""

from __future__ import annotations

import re

from ...errors import ConfigError
from ...experiments.model_set import ModelSet, target_for_size
from ...zoo import LoadedModel, count_classes, load_model
from ...zoo.loaders import LOADERS
from .data import DataOptions

UNNAMED = re.compile(rf"[./~]|(https?|{'|'.join(LOADERS)}):")  # how a MODEL begins, and no name


def load_model_set(specs: list[str], data: str, device: str, limit: int | None, options: DataOptions) -> ModelSet:
    """Return the models, each MODEL or NAME=MODEL, and the data that they are tried on.

    Raises:
        ConfigError: two models of one name.
    """
    loaded: dict[str, LoadedModel] = {}
    for spec in specs:
        name, model = split_name(spec)
        one = options.name_classes(load_model(model, device=device))
        if (name or one.name) in loaded:
            raise ConfigError(f"{name or one.name} is given twice; a matrix is of different models, as NAME=MODEL")
        loaded[name or one.name] = one
    largest = max(loaded.values(), key=lambda one: one.input.height * one.input.width if one.input else 0)
    targets = {name: target_for_size(one, largest) for name, one in loaded.items()}
    classes = count_classes(largest, data, options.scale) if data.startswith("folder:") else None
    return ModelSet(targets, loaded, options.load(data, largest, largest.input, classes, limit))


def split_name(spec: str) -> tuple[str, str]:
    """NAME and MODEL of `NAME=MODEL`; no name where it is a MODEL. A file with = in its name is ./FILE.py:FACTORY."""
    name, equals, model = (part.strip() for part in spec.partition("="))
    if not equals or UNNAMED.match(spec):
        return "", spec
    if not name or not model:
        raise ConfigError(f"{spec!r} names no model; write NAME=MODEL, as plain=zoo:mnist-plain")
    return name, model
