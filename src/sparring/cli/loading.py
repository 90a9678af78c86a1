"""MODEL and DATA as objects, with what the options say of a user's own model."""

from __future__ import annotations

import re
from copy import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError

if TYPE_CHECKING:
    from ..targets import Classifier, Granting
    from ..zoo import Data, InputSpec, LoadedModel


@dataclass(frozen=True)
class Described:
    """What --mean, --std, --size, --channels and --classes say."""

    mean: str | None = None
    std: str | None = None
    size: str | None = None
    channels: int | None = None
    classes: int | None = None

    @property
    def empty(self) -> bool:
        return self == Described()


def load(model: str, data: str, described: Described, device: str, limit: int | None) -> tuple[LoadedModel, Data]:
    """The model, and the data as that model wants it."""
    from ..zoo import count_classes, load_data

    loaded = load_described(model, described, device)
    classes = count_classes(loaded, data)
    return loaded, load_data(data, input=loaded.input, class_names=loaded.class_names, classes=classes, limit=limit)


def load_described(model: str, described: Described, device: str) -> LoadedModel:
    """The model, with what the options say of it."""
    from ..zoo import load_model

    return applied(load_model(model, device=device), model, described)


def applied(loaded: LoadedModel, spec: str, described: Described) -> LoadedModel:
    """The model with what the options say of it; only a user's own model may be described."""
    from ..targets import Classifier, Granting

    if described.empty:
        return loaded
    target = loaded.target
    old = target.target if isinstance(target, Granting) else target
    if not (".py:" in spec or isinstance(target, Granting)) or not isinstance(old, Classifier):
        raise ConfigError(
            f"--mean, --std, --size, --channels and --classes describe FILE.py, onnx: and http: models; {spec} "
            "brings its own"
        )
    if described.mean or described.std or described.classes:
        shown = Classifier(
            old.model,
            mean=numbers("--mean", described.mean),
            std=numbers("--std", described.std),
            layout=old.layout,
            classes=described.classes or (None if old.binary else old.classes),
            binary=old.binary,
            probabilities=old.probabilities,
            name=old.name,
        )
        target = granting_as(target, shown) if isinstance(target, Granting) else shown
    return replace(loaded, target=target, input=pictures(loaded.input, described))


def granting_as(target: Granting[Any], shown: Classifier) -> Granting[Any]:
    """The same target, with `shown` inside."""
    changed = copy(target)
    changed.target = shown
    return changed


def pictures(known: InputSpec | None, described: Described) -> InputSpec | None:
    """How pictures must look, as far as it is said."""
    from ..zoo import InputSpec

    if described.size is None:
        if described.channels is not None and known is None:
            raise ConfigError(f"--channels {described.channels} says nothing without --size; give both")
        return known if known is None or described.channels is None else replace(known, channels=described.channels)
    found = re.fullmatch(r"([1-9][0-9]{0,4})(?:x([1-9][0-9]{0,4}))?", described.size)
    if found is None:
        raise ConfigError(f"--size {described.size!r} is no size; write 224 or HEIGHTxWIDTH, as 224x320")
    height, width = int(found[1]), int(found[2] or found[1])
    if described.channels not in (None, 1, 3):
        raise ConfigError(f"--channels {described.channels} is neither 1 (grey) nor 3 (color)")
    return InputSpec(described.channels or 3, height, width)


def numbers(option: str, given: str | None) -> tuple[float, ...] | None:
    """`0.5,0.5,0.5` as numbers."""
    if given is None:
        return None
    try:
        return tuple(float(part) for part in given.split(","))
    except ValueError as error:
        raise ConfigError(f"{option} {given!r} is no list of numbers; write one per channel, as 0.5,0.5,0.5") from error
