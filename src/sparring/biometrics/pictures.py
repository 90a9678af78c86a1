"""Pictures of persons: a folder with one sub-folder for each, a data set of the zoo, or pictures with labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import InputError
from ..text import storable
from ..zoo import InputSpec, load_data
from ..zoo.dataset import Data, Skipped

FEWEST = 2  # persons of whom impostors can be made


@dataclass(frozen=True)
class PersonPicture:
    """A picture (C, H, W) in [0, 1] of a person; `name` is its file, relative to the folder."""

    image: Tensor
    person: str
    name: str


@dataclass(frozen=True)
class PersonPictures:
    """Pictures of persons, read one after the other as often as they are asked for."""

    name: str
    data: Data

    def __iter__(self) -> Iterator[PersonPicture]:
        """Yield the pictures, those that cannot be read left out; InputError where shapes differ or nobody is named."""
        shape = None
        for row in self.data.rows():
            if isinstance(row, Skipped):
                continue
            name = storable(row.name)
            shape = shape or row.image.shape
            if row.image.shape != shape:
                raise InputError(
                    f"{self.name}: {name} has shape {tuple(row.image.shape)} where those before it have "
                    f"{tuple(shape)}; make the pictures one size, or cut the faces out and say so: --aligned --size N"
                )
            yield PersonPicture(row.image, self._person(name, row.label), name)

    def skipped(self) -> list[Skipped]:
        """Return the pictures that cannot be read."""
        return [
            Skipped(storable(row.name), storable(row.reason)) for row in self.data.rows() if isinstance(row, Skipped)
        ]

    def _person(self, name: str, label: int | None) -> str:
        folder, slash, _ = name.partition("/")
        if slash:
            return folder
        if label is None:
            raise InputError(
                f"{self.name}: {name} lies in no sub-folder, and nothing says whom it shows; make a sub-folder for "
                "each "
                "person, with the pictures of that person inside"
            )
        return str(label)


def person_pictures(data: Any, *, input: InputSpec | None = None, scale: float | None = None) -> PersonPictures:
    """Return the pictures of persons in `data`.

    Args:
        data: `folder:DIR` or a path, with one sub-folder for each person; `zoo:orl-faces`; or what else `load_data`
            takes, where the label is the person.
        input: the size that pictures are brought to; None: they stay as they are, and must have one size.
        scale: as for `load_data`.

    Raises: InputError, ConfigError, AssetError, as `load_data`.
    """
    if isinstance(data, Path) and data.is_dir():
        data = f"folder:{data}"
    spec = data.replace("folder:", "flat:", 1) if isinstance(data, str) and data.startswith("folder:") else data
    found = load_data(spec, input=input, scale=scale)
    return PersonPictures(storable(data) if isinstance(data, str) else found.name, found)
