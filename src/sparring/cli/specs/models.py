"""Loading of MODEL and DATA, with the options for a user's own model."""

from __future__ import annotations

import re
from copy import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ...errors import AccessError, ConfigError
from .data import DataOptions

if TYPE_CHECKING:
    from ...targets import Classifier, Restricted, Target
    from ...zoo import Data, DataSource, InputSpec, LoadedModel

PLAIN_DATA = DataOptions()


LARGEST_SIDE = 1 << 14  # of a picture, in pixels


@dataclass(frozen=True)
class InputOverrides:
    """The values of --mean, --std, --size, --channels and --classes."""

    mean: str | None = None
    std: str | None = None
    size: str | None = None
    channels: int | None = None
    classes: int | None = None

    @property
    def empty(self) -> bool:
        return self == InputOverrides()

    @property
    def of_model(self) -> bool:
        """Tell whether the model itself is described, and not only its pictures."""
        return any((self.mean, self.std, self.classes))


def load_model_and_data(
    model: str,
    data: str,
    overrides: InputOverrides,
    device: str,
    limit: int | None,
    options: DataOptions = PLAIN_DATA,
) -> tuple[LoadedModel, Data]:
    """Return the model, and the data as that model wants it."""
    from ..display.progress import ProgressBars

    with ProgressBars(f"loading {model} and {data}"):
        loaded = options.name_classes(load_with_overrides(model, overrides, device))
        return loaded, load_data_for(loaded, data, limit, options)


def load_data_for(loaded: LoadedModel, data: str, limit: int | None, options: DataOptions = PLAIN_DATA) -> Data:
    """Return the data as the model wants it."""
    from ...zoo import count_classes

    return options.load(data, loaded, loaded.input, count_classes(loaded, data, options.scale), limit)


def load_model_and_source(
    model: str,
    data: str,
    overrides: InputOverrides,
    device: str,
    limit: int | None,
    options: DataOptions = PLAIN_DATA,
) -> tuple[LoadedModel, DataSource]:
    """Return the model and what it is audited on: of a task other than classification batches that FILE.py returns."""
    from ...tasks import Classification
    from ...zoo.batches import Batches
    from ...zoo.python_file import call_factory, split_factory
    from ..display.progress import ProgressBars

    with ProgressBars(f"loading {model} and {data}"):
        loaded = options.name_classes(load_with_overrides(model, overrides, device))
        task, user = loaded.target.task, split_factory(data)
        if task is not None and not isinstance(task, Classification) and user is not None:
            return loaded, Batches(call_factory(*user), data)
        return loaded, load_data_for(loaded, data, limit, options)


def load_with_overrides(model: str, overrides: InputOverrides, device: str) -> LoadedModel:
    """Return the model, with what the options say of it."""
    from ...zoo import load_model

    return apply_overrides(load_model(model, device=device), model, overrides)


def apply_overrides(loaded: LoadedModel, spec: str, overrides: InputOverrides) -> LoadedModel:
    """Return the model with what the options say of it; only a user's own model may be described."""
    from ...targets import Classifier, Restricted

    if overrides.empty:
        return loaded
    target = loaded.target
    old = target.target if isinstance(target, Restricted) else target
    if not (".py:" in spec or isinstance(target, Restricted)):
        raise ConfigError(
            f"--mean, --std, --size, --channels and --classes describe FILE.py, onnx: and http: models; {spec} "
            "brings its own"
        )
    if overrides.of_model:
        if not isinstance(old, Classifier):
            raise ConfigError(
                f"--mean, --std and --classes describe a bare model, and {spec} is a {type(old).__name__}; give "
                "them to the Classifier inside it"
            )
        shown = Classifier(
            old.model,
            mean=parse_numbers("--mean", overrides.mean),
            std=parse_numbers("--std", overrides.std),
            layout=old.layout,
            classes=overrides.classes or (None if old.binary else old.classes),
            binary=old.binary,
            probabilities=old.probabilities,
            name=old.name,
            inputs=old.inputs,
            identity=old.given_identity,
        )
        target = replace_inner_target(target, shown) if isinstance(target, Restricted) else shown
    return replace(loaded, target=target, input=parse_input_spec(loaded.input, overrides))


def replace_inner_target(target: Restricted[Any], shown: Classifier) -> Restricted[Any]:
    """Return the same target, with `shown` inside."""
    changed = copy(target)
    changed.target = shown
    return changed


def parse_input_spec(known: InputSpec | None, overrides: InputOverrides) -> InputSpec | None:
    """Return the size and preprocessing of pictures, as far as the options give them."""
    from ...zoo import InputSpec

    if overrides.size is None:
        if overrides.channels is not None and known is None:
            raise ConfigError(f"--channels {overrides.channels} says nothing without --size; give both")
        return known if known is None or overrides.channels is None else replace(known, channels=overrides.channels)
    found = re.fullmatch(r"([1-9][0-9]{0,4})(?:x([1-9][0-9]{0,4}))?", overrides.size)
    if found is None:
        raise ConfigError(f"--size {overrides.size!r} is no size; write 224 or HEIGHTxWIDTH, as 224x320")
    height, width = int(found[1]), int(found[2] or found[1])
    if max(height, width) > LARGEST_SIDE:
        raise ConfigError(f"--size {overrides.size!r} is larger than {LARGEST_SIDE} pixels; name what the model takes")
    if overrides.channels not in (None, 1, 3):
        raise ConfigError(f"--channels {overrides.channels} is neither 1 (grey) nor 3 (color)")
    return InputSpec(overrides.channels or 3, height, width)


def parse_numbers(option: str, given: str | None) -> tuple[float, ...] | None:
    """Return the numbers of a text like `0.5,0.5,0.5`; None for None, ConfigError where a part is no number."""
    if given is None:
        return None
    try:
        return tuple(float(part) for part in given.split(","))
    except ValueError as error:
        raise ConfigError(f"{option} {given!r} is no list of numbers; write one per channel, as 0.5,0.5,0.5") from error


def load_start_model(model: str, victim: LoadedModel, pictures: Data, device: str) -> Target[Any]:
    """Return the attacker's own MODEL; ConfigError where it has other classes than the victim says it has."""
    from ...targets import WrappedTarget
    from ...tasks import Classification
    from ...zoo import load_model
    from ...zoo.sources import ask_classes

    own, inside = load_model(model, device=device), victim.target
    while isinstance(inside, WrappedTarget):
        inside = inside.target
    classes = getattr(inside, "classes", None)
    if classes is not None and isinstance(own.target.task, Classification):
        count = ask_classes(own, pictures)
        if count != classes:
            raise ConfigError(
                f"--start-on {model} has {count} classes, and {victim.name} has {classes}; name one of the same classes"
            )
    return own.target


def add_surrogate(loaded: LoadedModel, surrogate: str, device: str) -> LoadedModel:
    """Return the model with the gradients of another, the MODEL `surrogate`."""
    from ...access import Scores
    from ...targets import Surrogate
    from ...zoo import load_model

    if not issubclass(loaded.target.access, Scores):
        raise AccessError(f"a surrogate climbs beside scores, and {loaded.name} gives {loaded.target.access.__name__}")
    own = load_model(surrogate, device=device)
    name = f"{loaded.name} with gradients of {own.name}"
    return replace(loaded, name=name, target=Surrogate(loaded.target, own.target))
