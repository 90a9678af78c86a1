"""What the command line says of DATA beside its name: --scale, --labels, --class-names and --targeted."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import ConfigError, nearest

if TYPE_CHECKING:
    from ...zoo import Data, InputSpec, LoadedModel


@dataclass(frozen=True)
class DataOptions:
    """The values of --scale, --labels and --class-names."""

    scale: float | None = None
    labels: str | None = None
    class_names: str | None = None

    def name_classes(self, loaded: LoadedModel) -> LoadedModel:
        """Return the model with the class names of the file; ConfigError where it has another number of classes."""
        from ...zoo.class_names import read_class_names

        if self.class_names is None:
            return loaded
        names = read_class_names(Path(self.class_names).expanduser())
        self._check_count(len(names), getattr(loaded.target, "classes", None), loaded)
        return replace(loaded, class_names=names)

    def load(
        self, data: str, loaded: LoadedModel | None, input: InputSpec | None, classes: int | None, limit: int | None
    ) -> Data:
        """Return the data as the model wants it, or without a model in the size of `input`."""
        from ...zoo import load_data
        from ...zoo.sources import ask_classes

        names = None if loaded is None else loaded.class_names
        found = load_data(
            data, input=input, class_names=names, classes=classes, limit=limit, scale=self.scale, labels=self.labels
        )
        if self.class_names is not None and names is not None and loaded is not None and classes is None:
            self._check_count(len(names), ask_classes(loaded, found), loaded)
        return found

    def _check_count(self, count: int, classes: int | None, loaded: LoadedModel) -> None:
        if classes not in (None, count):
            raise ConfigError(
                f"--class-names {self.class_names} names {count} classes, and {loaded.name} has {classes}; give a name "
                "for each, in the order of the outputs"
            )


def parse_targeted(word: str | None, loaded: LoadedModel, data: Data) -> int | dict[str, int] | None:
    """Return the class that `--targeted` names, or that of each image by its name from a table FILE.csv.

    Raises: ConfigError for a word that is no class, InputError for a file that is no table of targets.
    """
    from ...zoo.label_file import targets_of_files

    if word is not None and Path(word).suffix.lower() in (".csv", ".tsv"):
        names = loaded.class_names or data.class_names
        return targets_of_files(Path(word).expanduser(), getattr(loaded.target, "classes", None), names)
    return parse_target(word, loaded, data)


def parse_target(word: str | None, loaded: LoadedModel, data: Data) -> int | None:
    """Return the class that every image is to be given, by number or name; None for None, ConfigError for no class."""
    names = loaded.class_names or data.class_names
    return parse_class(word, loaded.name, getattr(loaded.target, "classes", None), names)


def parse_class(word: str | None, model: str, classes: int | None, names: tuple[str, ...] | None) -> int | None:
    """Return the class that `--targeted` names by number or name; ConfigError where it is none."""
    from ...zoo.class_words import named_classes, normalized_name

    if word is None:
        return None
    count = classes or len(names or ()) or None
    if re.fullmatch(r"[+-]?[0-9]{1,9}", word.strip()):
        number = int(word)
        if number < 0 or (count is not None and number >= count):
            known = "" if count is None else f"; the model has {count}, 0 to {count - 1}"
            raise ConfigError(f"--targeted: {number} is no class{known}")
        return number
    wanted = normalized_name(word)
    if [normalized_name(name) for name in names or ()].count(wanted) > 1:
        raise ConfigError(f"--targeted: several classes are called {word!r}; write the number of one")
    known_names = named_classes(names, classes)
    if wanted not in known_names:
        cure = (
            "name one of its classes"
            if known_names
            else "its classes have no names: give a number, or --class-names FILE"
        )
        near = nearest(wanted, known_names)
        raise ConfigError(f"--targeted {word!r:.80} is no class of {model}; {cure}.{near}")
    return known_names[wanted]
