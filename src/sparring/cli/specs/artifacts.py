"""Loading of MODEL and DATA in the image size of an artifact."""

from __future__ import annotations

from dataclasses import replace

from ...attacks import Artifact
from ...errors import ConfigError
from ...experiments.apply import input_of_artifact
from ...experiments.model_set import target_for_size
from ...zoo import Data, InputSpec, LoadedModel
from .data import DataOptions
from .models import InputOverrides, load_with_overrides, parse_input_spec


def load_for_artifact(
    artifact: Artifact,
    usual: InputSpec | None,
    data: str,
    model: str | None,
    overrides: InputOverrides,
    device: str,
    limit: int | None,
    options: DataOptions,
) -> tuple[Data, LoadedModel | None]:
    """Load the data in the artifact's size, and the model as one that takes that size.

    `usual` is the size of the images that the artifact was made on, for one that takes any size.
    """
    if model is None:
        if replace(overrides, size=None, channels=None) != InputOverrides():
            raise ConfigError("--mean, --std and --classes describe a model; add --model MODEL")
        spec = input_of_artifact(parse_input_spec(None, overrides) or usual, artifact)
        return options.load(data, None, spec, None, limit), None
    loaded = options.name_classes(load_with_overrides(model, overrides, device))
    spec = input_of_artifact(loaded.input or usual, artifact)
    loaded = replace(loaded, input=spec, target=target_for_size(loaded, replace(loaded, input=spec)))
    classes = getattr(loaded.target, "classes", None)
    return options.load(data, loaded, spec, classes, limit), loaded
